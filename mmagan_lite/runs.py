"""A run seen from outside: its folder is read while a trainer, here or elsewhere, writes to it."""

import csv
import io
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from mmagan_lite.config import Config

SUFFIX = ".mmagan-lite"  # of the names of our event files: these may be replaced, others not


class Run:
    """What a trainer has written to its folder so far; `refresh` reads what is new.

    A line that is still being written waits until it is whole. If the history was rewritten, as
    when a run is resumed from an earlier checkpoint, it is read from its beginning again.

    Parameters
    ----------
    folder : path
        As given to `Trainer`; it may not exist yet.

    Attributes
    ----------
    rows : DataFrame
        The history, one row a step; its columns are those of the file.
    config : Config or None
        From the checkpoint; None where it cannot be read.
    done : bool
        Whether the checkpoint of the last step is written.
    problem : str or None
        One sentence if there is no history to show, and why.
    rewritten : int
        How often the history was found rewritten.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.name = os.fspath(folder)  # for sentences
        self.folder = Path(folder).absolute()  # wherever the process may go later
        self.config: Config | None = None
        self.done, self.rewritten = False, -1
        self._saved = 0  # when the checkpoint was written, as far as it was read
        self._forget()
        self.refresh()

    def refresh(self) -> bool:
        """Read what is new.

        Returns
        -------
        bool
            Whether rows came or went.
        """
        rows = self.rows
        self._read_checkpoint()  # first, so that a run that is done has all of its rows
        try:
            self.problem = self._read_history()
        except FileNotFoundError:
            if self._read:
                self._forget()
            missing = "history.csv in" if self.folder.is_dir() else "folder"
            self.problem = f"There is no {missing} {self.name} yet; a trainer writes it."
        except OSError as error:
            self.problem = f"{self.name}/history.csv cannot be read: {error.strerror or error}."
        return self.rows is not rows

    @property
    def started(self) -> bool:
        """Whether there is a history, even one without steps."""
        return bool(self._columns)

    @property
    def step(self) -> int:
        """The last step of the history; 0 and below in the warm-up, and without any rows."""
        return int(self.rows["step"].iloc[-1]) if len(self.rows) else 0

    def seconds_since(self) -> float:
        """How long ago the history last grew."""
        try:
            return max(0.0, time.time() - self._history.stat().st_mtime)
        except OSError:
            return 0.0

    def samples(self) -> dict[int, Path]:
        """The pictures of sample faces: step -> file, in the order of steps.

        Those of later steps than the history's last are left out; they are from before the run
        was resumed.
        """
        files = {int(p.stem): p for p in self.folder.glob("samples/*.png") if p.stem.isdecimal()}
        return {step: files[step] for step in sorted(files) if step <= self.step}

    def newest_sample(self) -> tuple[int, Image.Image] | None:
        """The step and the picture of the newest samples that can be read, if there are any."""
        for step, path in reversed(self.samples().items()):
            try:
                return step, _picture(path)
            except OSError:
                continue  # cut short, or just removed
        return None

    @property
    def _history(self) -> Path:
        return self.folder / "history.csv"

    def _forget(self) -> None:
        self.rows, self._columns = pd.DataFrame(), None
        self.rewritten += 1
        self._read, self._last = 0, b""  # bytes so far, and the line that they end with

    def _read_history(self) -> str | None:
        """Take in the new whole lines; returns what is wrong."""
        lines = self._new_lines()
        if self._columns is None and lines:
            header, _, lines = lines.partition(b"\n")
            columns = header.decode(errors="replace").strip().split(",")
            self._columns = columns if _are_columns(columns) else ()
        if self._columns == ():
            return f"{self.name}/history.csv is no history of a trainer: it lacks step or seconds."
        if lines:
            fresh = _table(lines, self._columns)
            parts = [self.rows, fresh] if len(self.rows) else [fresh]
            self.rows = pd.concat(parts, ignore_index=True)
        return None if len(self.rows) else f"{self.name}/history.csv has no step yet."

    def _new_lines(self) -> bytes:
        """The whole lines since the last time, or all of them if those before have changed."""
        with open(self._history, "rb") as file:
            file.seek(self._read - len(self._last))
            content = file.read()
        if not content.startswith(self._last):
            self._forget()
            return self._new_lines()
        content = content[len(self._last) :]
        whole = content[: content.rfind(b"\n") + 1]
        if whole:
            self._read += len(whole)
            self._last = whole.splitlines(keepends=True)[-1]
        return whole

    def _read_checkpoint(self) -> None:
        """Configuration and progress of a new checkpoint; its weights stay on the disk."""
        path = self.folder / "checkpoint.pt"
        try:
            saved = path.stat().st_mtime_ns
            if saved == self._saved:
                return
            contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            self.config = Config.from_dict(contents["config"])
            self.done = contents["progress"]["step"] >= self.config.steps
            self._saved = saved
        except Exception:  # missing or damaged in one of many ways: then the goal is unknown
            self.config, self.done = None, False


def _are_columns(names: list[str]) -> bool:
    return {"step", "seconds"} <= set(names) and len(set(names)) == len(names)


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _table(lines: bytes, columns: list[str]) -> pd.DataFrame:
    """Lines of a history as numbers; what is none is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of lines that are too long
        table = pd.read_csv(
            io.BytesIO(lines), names=columns, header=None, index_col=False, quoting=csv.QUOTE_NONE,
            encoding_errors="replace", on_bad_lines="skip", low_memory=False,
        )  # fmt: skip
    table = table.apply(pd.to_numeric, errors="coerce").dropna(subset=["step", "seconds"])
    return table.astype(float).astype({"step": int}).reset_index(drop=True)


def to_tensorboard(
    folder: str | os.PathLike,
    out: str | os.PathLike | None = None,
    follow: bool = False,
    seconds: float = 2.0,
) -> tuple[int, int]:
    """Write a run's history and samples as event files for TensorBoard.

    Event files that an earlier call wrote there are replaced, so that nothing appears twice.

    Parameters
    ----------
    folder : path
        Of the run.
    out : path, optional
        Where the event files go; default: ``tensorboard`` in the run's folder.
    follow : bool
        Go on until the run is complete; Ctrl-C ends it earlier.
    seconds : float
        How often to look for something new then.

    Returns
    -------
    steps, pictures : int
        How many were written.

    Raises
    ------
    ValueError
        If there is no history of a run.
    ModuleNotFoundError
        If TensorBoard is not installed.
    """
    run = Run(folder)
    if not run.started or (run.problem and not follow):
        raise ValueError(run.problem)
    events = _Events(run, Path(out or run.folder / "tensorboard"))
    try:
        events.write()
        while follow and not run.done:
            time.sleep(seconds)
            run.refresh()
            events.write()
    finally:
        events.writer.close()
    return events.steps, len(events.pictures)


class _Events:
    """What has been written of a run for TensorBoard."""

    def __init__(self, run: Run, out: Path) -> None:
        self.run, self.out = run, out
        self._begin()

    def _begin(self) -> None:
        writer = _summary_writer()
        for old in self.out.glob(f"events.out.tfevents.*{SUFFIX}"):
            old.unlink()
        self.writer = writer(str(self.out), filename_suffix=SUFFIX)
        self.rewritten, self.steps, self.pictures = self.run.rewritten, 0, set()
        self.configured = False
        # TensorBoard can then show curves over the time that training took.
        seconds = self.run.rows["seconds"].iloc[-1] if len(self.run.rows) else 0.0
        self.start = time.time() - self.run.seconds_since() - seconds

    def write(self) -> None:
        """Add what is new."""
        if self.run.rewritten != self.rewritten:
            self.writer.close()
            self._begin()
        if self.run.config and not self.configured:
            fields = "\n".join(f"    {k}: {v!r}" for k, v in self.run.config.to_dict().items())
            self.writer.add_text("configuration", fields, 0, self.start)
            self.configured = True
        for step, seconds, values in _numbers(self.run.rows.iloc[self.steps :]):
            for name, value in values:
                self.writer.add_scalar(name, value, step, self.start + seconds)
        self.steps = len(self.run.rows)
        self._add_pictures()
        self.writer.flush()

    def _add_pictures(self) -> None:
        for step, path in self.run.samples().items():
            if step not in self.pictures:
                try:
                    pixels = np.asarray(_picture(path))  # (H, W, 3)
                except OSError:
                    continue
                reached = self.run.rows.loc[self.run.rows["step"] == step, "seconds"]
                when = self.start + (reached.iloc[-1] if len(reached) else 0.0)
                self.writer.add_image("samples", pixels, step, when, dataformats="HWC")
                self.pictures.add(step)


def _numbers(rows: pd.DataFrame) -> Iterator[tuple[int, float, list[tuple[str, float]]]]:
    """Step, seconds, and what else each row holds, named as TensorBoard groups it."""
    names = [name for name in rows if name not in ("step", "seconds")]
    tags = [name.replace("_", "/", 1) for name in names]  # critic/adv, accuracy/real, gap
    for step, seconds, *values in rows[["step", "seconds", *names]].itertuples(index=False):
        yield step, seconds, [(t, v) for t, v in zip(tags, values, strict=True) if np.isfinite(v)]


def _summary_writer() -> Any:
    """PyTorch's writer of event files."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "Event files need TensorBoard, which is not installed; "
            "get it by: pip install 'mmagan-lite[tensorboard]'"
        ) from error
    return SummaryWriter
