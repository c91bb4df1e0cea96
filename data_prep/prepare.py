"""The pipeline: read records, find and align each face, write a data set and a report.

DEST holds train/ and test/, each with PNG files and a metadata.csv, so that Hugging Face's
`imagefolder` reads it too, and what one should know before training on it: report.html to read,
report.json for programs, skipped.csv and contact_sheet.png. While the run lasts, progress.jsonl
notes every picture that is done, so that a run that was stopped goes on there.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from tqdm.auto import tqdm

from data_prep.duplicates import available
from data_prep.journal import Journal, check_same
from data_prep.picture import Job
from data_prep.records import LAYOUTS
from data_prep.report import read_report, write_report
from data_prep.splits import Splits, first_pass
from data_prep.workers import prepare_all
from mmagan_lite.detection import detector_name

log = logging.getLogger("data_prep")


def prepare(
    layout: str,
    source: str | Path,
    dest: str | Path,
    *,
    size: int = 128,
    align: bool | None = None,
    workers: int = 1,
    test_share: float = 0.2,
    seed: int = 0,
) -> dict:
    """Prepare a data set; call it again to go on after an interruption.

    Parameters
    ----------
    layout : str
        How the source lies on disk: a name in `LAYOUTS`.
    source, dest : path
        The data set's folder, which is only read, and the folder to write, new or empty.
    size : int
        Side of the crops in pixels, 16 to 1024.
    align : bool, optional
        Find each face, level its eyes and crop it; False takes the middle square of each
        picture, for sets that consist of face crops already. Default: what the layout says.
    workers : int
        Processes to use.
    test_share : float
        Share of the people (of the pictures, where people are unknown) held out for testing,
        0 to 0.9, where the data set has no split of its own.
    seed : int
        Which people those are.

    Returns
    -------
    dict
        What DEST/report.json holds: found, used and skipped pictures and why.

    Raises
    ------
    FileNotFoundError, ValueError
        If an option is wrong, the source is not in that layout, or DEST holds something else;
        nothing is written then.
    """
    # resolve() fails where links lead in a circle
    source, dest = (Path(os.path.realpath(folder)) for folder in (source, dest))
    _check_options(layout, size, workers, test_share)
    align = not LAYOUTS[layout].crops if align is None else align
    options = {
        "layout": layout, "source": str(source), "size": size, "align": align,
        "test_share": test_share, "seed": seed, "detector": detector_name() if align else None,
        "fingerprints": available(),
    }  # fmt: skip
    if (report := read_report(dest)) is not None:
        check_same(dest, report["options"], options)
        return report
    _check_source(layout, source, dest)
    found, splits = first_pass(LAYOUTS[layout].records(source), test_share, seed)
    with Journal(dest, {**options, "found": found}) as journal:
        _run(journal, source, options, splits, found, workers)
        return write_report(journal, options)


def _run(
    journal: Journal, source: Path, options: dict, splits: Splits, found: int, workers: int
) -> None:
    """Prepare what the journal does not hold yet, and say how fast that was."""
    settings = source, options["size"], options["align"], options["fingerprints"]
    done, start = journal.done, time.monotonic()
    records = journal.remaining(LAYOUTS[options["layout"]].records(source), source)
    try:
        jobs = (
            Job(record, number, *splits.of(record, source), *settings)
            for number, record in enumerate(records, done)
        )
        quiet = bool(os.environ.get("TQDM_DISABLE"))  # tqdm's bar for notebooks ignores it
        with tqdm(
            total=found, initial=done, unit="picture", desc=options["layout"], disable=quiet
        ) as bar:
            for png, entry in prepare_all(jobs, workers):
                journal.add(png, entry)
                bar.update()
    finally:
        journal.file.close()
        journal.write_metadata()
    done, seconds = journal.done - done, max(1e-3, time.monotonic() - start)
    log.info("%d pictures in %.1f s, %.1f a second.", done, seconds, done / seconds)


def _check_options(layout: str, size: int, workers: int, test_share: float) -> None:
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ValueError(f"Unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    if not 16 <= size <= 1024:
        raise ValueError(f"The size must be from 16 to 1024 pixels; got {size}.")
    if workers < 1:
        raise ValueError(f"The number of workers must be at least 1; got {workers}.")
    if not 0 <= test_share <= 0.9:
        raise ValueError(f"The test share must be from 0 to 0.9; got {test_share}.")


def _fits(layout: str, folder: Path) -> bool:
    """Whether a folder nobody asked for is in the layout; what is wrong with it does not matter."""
    with suppress(ValueError, OSError):
        return LAYOUTS[layout].fits(folder)
    return False


def _check_source(layout: str, source: Path, dest: Path) -> None:
    expected = f"the layout {layout} expects {LAYOUTS[layout].expected}"
    if not source.is_dir():
        kind = "is not a folder" if source.exists() else "does not exist"
        raise FileNotFoundError(f"{source} {kind}; {expected}.")
    inside = sorted(path.name for path in source.iterdir())
    if not inside:
        raise ValueError(f"{source} is empty; {expected}.")
    if not LAYOUTS[layout].fits(source):
        near = [source.parent, *(path for path in source.iterdir() if path.is_dir())]
        hint = "".join(f" Did you mean {p}?" for p in near if _fits(layout, p))
        listed = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
        raise ValueError(f"{source} holds {listed}, but {expected}.{hint}")
    if dest.is_relative_to(source):
        raise ValueError(f"{dest} lies in the source {source}; write somewhere else.")
