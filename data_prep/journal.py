"""Writing so that a run may be stopped at any moment and goes on where it was."""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from data_prep.duplicates import HASH_SIZE
from data_prep.records import Record
from mmagan_lite.expressions import EXPRESSIONS

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    import msvcrt

    fcntl = None

HASH = f"[0-9a-f]{{{HASH_SIZE**2 // 4}}}"
SKIPPED = {"source": str, "skipped": str, "detail": str}  # what a line says of a picture
USED = {
    "split": str, "file_name": str, "expression": str, "intensity": float | None,
    "subject": str | None, "source": str, "native_label": str, "split_by": str, "grey": bool,
    "upscaled": bool, "hash": str | None,
}  # fmt: skip
COLUMNS = ("file_name", "expression", "intensity", "subject", "source", "native_label")


@contextmanager
def written_whole(path: Path, mode: str = "w") -> Iterator[IO]:
    """A file to write to that appears under its name only when it is complete.

    Parameters
    ----------
    path : Path
    mode : {"w", "wb"}
        Text is UTF-8; what has no place in it (file names may hold anything) is escaped.

    Yields
    ------
    file
        Open for writing; if an error ends the block, a full disk included, nothing remains.
    """
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open(mode, **({} if "b" in mode else text)) as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class Table:
    r"""A file for the csv module: rows end in "\n", and what holds "\r" or "\n" is in quotes.

    Python before 3.13 puts only those line ends in quotes that its own rows have.

    Parameters
    ----------
    file
        Open for writing text.
    """

    def __init__(self, file: IO) -> None:
        self.file = file

    def write(self, row: str) -> None:
        """Write a row that ends as the csv module's rows do."""
        self.file.write(row.removesuffix("\r\n") + "\n")


class Lock:
    """A folder to write to alone; the system lets go of it when the process ends, even killed.

    Parameters
    ----------
    folder : Path
        There already; it holds a file while it is locked.

    Raises
    ------
    ValueError
        If another run has it.
    """

    NAME = ".lock"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.NAME
        self.file = self.path.open("ab")
        if not self._taken():
            self.file.close()
            raise ValueError(
                f"Another run is writing to {folder}; wait for it or choose another folder."
            )

    def _taken(self) -> bool:
        try:
            if fcntl is None:
                msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The other run may have ended, and deleted this file, after we opened it.
            return os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())
        except (BlockingIOError, PermissionError, FileNotFoundError):
            return False
        except OSError:  # some network disks know no locks: better without one than not at all
            return True

    def release(self) -> None:
        """Let others write."""
        if fcntl is None:
            self.file.close()  # Windows deletes no open file
        with suppress(OSError):
            self.path.unlink()
        self.file.close()


def check_same(dest: Path, before: dict, now: dict) -> None:
    """Refuse to go on in a folder that was begun with other options."""
    changed = {k: f"{k} was {before.get(k)}, now {now[k]}" for k in now if before.get(k) != now[k]}
    if changed.keys() == {"found"}:
        raise ValueError(
            f"{now['source']} has changed since the run began: {before.get('found')} pictures were "
            f"found there, now {now['found']}; prepare it anew in another folder."
        )
    if changed:
        raise ValueError(
            f"{dest} was prepared with other options ({'; '.join(changed.values())}); "
            f"use the same ones or another folder."
        )


class Journal:
    """What has been done so far, in DEST/progress.jsonl: the options, then a line a picture.

    Pictures are noted in the order of the data set, so that those done are its first ones. To be
    closed, as by a `with` block: until then no other run may write to DEST.

    Parameters
    ----------
    dest : Path
        The folder to write: new, empty, or with a journal.
    header : dict
        The options, which must be those of the journal that is there.

    Attributes
    ----------
    done : int
        Pictures noted so far.

    Raises
    ------
    ValueError
        If `dest` holds something else, was begun with other options, or another run has it.
    """

    NAME = "progress.jsonl"

    def __init__(self, dest: Path, header: dict) -> None:
        self.dest, self.path = dest, dest / self.NAME
        self._check_ours()
        dest.mkdir(parents=True, exist_ok=True)
        self.lock = Lock(dest)
        try:
            self._check_ours()  # another run may have ended in between
            self._begin(header)
        except BaseException:
            self.lock.release()
            raise

    def _check_ours(self) -> None:
        """Write only to what is new or empty, but for what a kill may leave, or has a journal."""
        if self.path.exists() or not self.dest.exists():
            return
        leftovers = {Lock.NAME, f"{self.NAME}.partial"}
        if not self.dest.is_dir() or any(p.name not in leftovers for p in self.dest.iterdir()):
            raise ValueError(
                f"{self.dest} is not empty and was not prepared by data_prep; choose a new folder."
            )

    def _begin(self, header: dict) -> None:
        if self.path.exists():
            self._resume(header)
        else:
            with written_whole(self.path) as file:
                file.write(json.dumps(header) + "\n")
        self.done = sum(1 for _ in self.entries())
        self.file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.file.close()  # a full disk makes it fail
        finally:
            self.lock.release()

    def _resume(self, header: dict) -> None:
        with self.path.open("rb+") as file:
            first = file.readline()
            check_same(self.dest, self._parsed(first), header)
            whole = len(first) + sum(len(line) for line in file if line.endswith(b"\n"))
            file.truncate(whole)  # a kill may have torn the last line
        for leftover in self.dest.rglob("*.partial"):
            leftover.unlink()

    def entries(self) -> Iterator[dict]:
        """All pictures noted so far, used and skipped."""
        with self.path.open("rb") as lines:
            next(lines)  # the options
            for line in lines:
                if line.endswith(b"\n"):
                    yield self._entry(line)

    def _entry(self, line: bytes) -> dict:
        """A picture that was noted: skipped, or with a crop in the folder of a split."""
        entry = self._parsed(line)
        kinds = SKIPPED if "skipped" in entry else USED
        fits = all(isinstance(entry.get(key, ...), kind) for key, kind in kinds.items())
        if not fits or (kinds is USED and not _leads_to_a_crop(entry)):
            raise ValueError(self.damaged)
        return entry

    def _parsed(self, line: bytes) -> dict:
        """What a line says."""
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                return said
        raise ValueError(self.damaged)

    @property
    def damaged(self) -> str:
        """What to say of a journal that holds something else."""
        return f"{self.path} is damaged; delete {self.dest} and prepare again."

    def remaining(self, records: Iterable[Record], source: Path) -> Iterator[Record]:
        """The records that are still to be done, after a look at whether the others are the same.

        Raises
        ------
        ValueError
            If a picture that is done, or its crop, is not where it was.
        """
        records = iter(records)
        for entry in self.entries():
            record = next(records, None)
            if record is None or record.name(source) != entry["source"]:
                raise ValueError(
                    f"{source} has changed since the run began: {entry['source']} was there; "
                    f"prepare it anew in another folder."
                )
            if "skipped" not in entry and not self._crop(entry).exists():
                raise ValueError(
                    f"{self._crop(entry)} was written and is gone; delete {self.dest} and prepare "
                    f"again."
                )
        return records

    def _crop(self, entry: dict) -> Path:
        return self.dest / entry["split"] / entry["file_name"]

    def add(self, png: bytes | None, entry: dict) -> None:
        """Write a crop, then note it: what is noted is there."""
        if png is not None:
            target = self._crop(entry)
            target.parent.mkdir(exist_ok=True)
            with written_whole(target, "wb") as file:
                file.write(png)
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        self.done += 1

    def write_metadata(self) -> None:
        """metadata.csv of both splits, for all pictures noted so far."""
        writers = {}
        with ExitStack() as files:
            for entry in self.entries():
                if "skipped" in entry:
                    continue
                split = entry["split"]
                if split not in writers:
                    file = files.enter_context(written_whole(self.dest / split / "metadata.csv"))
                    writers[split] = csv.DictWriter(Table(file), COLUMNS, extrasaction="ignore")
                    writers[split].writeheader()
                writers[split].writerow(entry)


def _leads_to_a_crop(entry: dict) -> bool:
    """Whether a picture lies in the folder of a split, and is called what pictures are."""
    name, fingerprint = entry["file_name"], entry["hash"]
    return (
        entry["split"] in ("train", "test")
        and name != ""
        and Path(name).name == name
        and entry["expression"] in EXPRESSIONS
        and (fingerprint is None or re.fullmatch(HASH, fingerprint) is not None)
    )
