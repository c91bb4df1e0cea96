"""The pipeline: read records, find and align each face, write a data set and a report.

DEST holds train/ and test/, each with PNG files and a metadata.csv, so that Hugging Face's
`imagefolder` reads it too, and report.json and contact_sheet.png. While the run lasts,
progress.jsonl notes every picture that is done, so that a run that was stopped goes on there.
"""

import csv
import io
import json
import multiprocessing
import os
import random
import re
import signal
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm.auto import tqdm

from data_prep.records import LAYOUTS, Record
from mmagan_lite.detection import (
    Face,
    FaceNotFoundError,
    SeveralFacesError,
    align,
    contains,
    detect,
    detector_name,
    find_face,
    load_image,
)
from mmagan_lite.expressions import EXPRESSIONS

COLUMNS = ("file_name", "expression", "intensity", "subject", "source", "native_label")


def prepare(
    layout: str,
    source: str | Path,
    dest: str | Path,
    *,
    size: int = 128,
    align: bool = True,
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
    align : bool
        Find each face, level its eyes and crop it; False takes the middle square of each
        picture, for sets that consist of face crops already.
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
    source, dest = Path(source).resolve(), Path(dest).resolve()
    _check_options(layout, size, workers, test_share)
    options = {
        "layout": layout, "source": str(source), "size": size, "align": align,
        "test_share": test_share, "seed": seed, "detector": detector_name() if align else None,
    }  # fmt: skip
    if (dest / "report.json").exists():
        report = json.loads((dest / "report.json").read_text(encoding="utf-8"))
        _check_same(dest, report["options"], options)
        return report
    _check_source(layout, source, dest)
    found, test_people = _first_pass(LAYOUTS[layout].records(source), test_share, seed)
    journal = Journal(dest, {**options, "found": found})
    jobs = (
        (record, name, split, size, align)
        for record in LAYOUTS[layout].records(source)
        if (name := record.name(source)) not in journal.done
        for split in [_split(record, name, test_people, test_share, seed)]
    )
    with tqdm(total=found, initial=len(journal.done), unit="picture", desc=layout) as bar:
        try:
            for crop, entry in _run(jobs, workers):
                journal.add(crop, entry)
                bar.update()
        finally:
            journal.file.close()
            journal.write_metadata()
    return _finish(journal, options)


# ------------------------------------------------------------------------------------- checks


def _check_options(layout: str, size: int, workers: int, test_share: float) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    if not 16 <= size <= 1024:
        raise ValueError(f"The size must be from 16 to 1024 pixels; got {size}.")
    if workers < 1:
        raise ValueError(f"The number of workers must be at least 1; got {workers}.")
    if not 0 <= test_share <= 0.9:
        raise ValueError(f"The test share must be from 0 to 0.9; got {test_share}.")


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
        hint = "".join(f" Did you mean {p}?" for p in near if LAYOUTS[layout].fits(p))
        listed = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
        raise ValueError(f"{source} holds {listed}, but {expected}.{hint}")
    if dest.is_relative_to(source):
        raise ValueError(f"{dest} lies in the source {source}; write somewhere else.")


def _check_same(dest: Path, before: dict, now: dict) -> None:
    changed = [f"{k} was {before[k]}, now {now[k]}" for k in now if before.get(k) != now[k]]
    if changed:
        raise ValueError(
            f"{dest} was prepared with other options ({'; '.join(changed)}); "
            f"use the same ones or another folder."
        )


# ------------------------------------------------------------------------------------- splits


def _rank(seed: int, name: str) -> int:
    return int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()[:8])


def _first_pass(records: Iterable[Record], share: float, seed: int) -> tuple[int, set[str]]:
    """Number of records, and the people held out for testing: an exact share of them."""
    found, people = 0, set()
    for record in records:
        found += 1
        if record.subject is not None and record.split is None:
            people.add(record.subject)
    ranked = sorted(people, key=lambda person: _rank(seed, person))
    return found, set(ranked[: round(share * len(ranked))])


def _split(record: Record, name: str, test_people: set[str], share: float, seed: int) -> str:
    if record.split is not None:
        return record.split
    if record.subject is not None:
        return "test" if record.subject in test_people else "train"
    return "test" if _rank(seed, name) < share * 2**64 else "train"


# ------------------------------------------------------------------------------- one picture


def _prepare_one(
    record: Record, name: str, split: str, size: int, aligned: bool
) -> tuple[Image.Image | None, dict]:
    """The crop and its journal entry; for a picture that cannot be used, None and the reason."""
    if record.expression is None:
        return None, _skipped(name, "unknown label", record.native_label)
    try:
        photo = load_image(record.path)
        crop = _face(photo, record, size) if aligned else ImageOps.fit(photo, (size, size))
    except FaceNotFoundError as error:
        return None, _skipped(name, "no face", error)
    except SeveralFacesError as error:
        return None, _skipped(name, "several faces", error)
    except (ValueError, OSError) as error:
        return None, _skipped(name, "unreadable", error)
    except Exception as error:  # whatever one file provokes, the others go on
        return None, _skipped(name, "failed", repr(error))
    stem = re.sub(r"[^\w.-]", "_", record.path.stem)[:60]
    intensity = 0.0 if record.expression == "neutral" else record.intensity
    return crop, {
        "split": split,
        "file_name": f"{stem}-{sha256(name.encode()).hexdigest()[:8]}.png",  # unique in DEST
        "expression": record.expression,
        "intensity": None if intensity is None else float(intensity),
        "subject": record.subject,
        "source": name,
        "native_label": record.native_label,
    }


def _skipped(name: str, reason: str, detail: object) -> dict:
    return {"source": name, "skipped": reason, "detail": str(detail)}


def _face(photo: Image.Image, record: Record, size: int) -> Image.Image:
    if record.bbox is None:
        return align(photo, find_face(photo), size)[0]
    faces = [face for face in detect(photo) if contains(record.bbox, face.centre)]
    return align(photo, faces[0] if faces else Face(record.bbox), size)[0]


def _run(jobs: Iterator[tuple], workers: int) -> Iterator[tuple]:
    """Results in the order of the jobs, few of them at a time in memory."""
    if workers == 1:
        yield from (_prepare_one(*job) for job in jobs)
        return
    # Forking this process may hang, as torch's threads run in it: fork a fresh one that has
    # imported everything, or start from nothing where there is no fork.
    fresh = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(fresh)
    context.set_forkserver_preload(["data_prep.prepare"])
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        waiting: deque = deque()
        for job in jobs:
            waiting.append(pool.submit(_prepare_one, *job))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start_worker() -> None:
    torch.set_num_threads(1)  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle


# ------------------------------------------------------------------------------------ writing


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at no moment, a full disk included, half of it lies there."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class Journal:
    """What has been done so far, in DEST/progress.jsonl: the options, then a line a picture."""

    def __init__(self, dest: Path, header: dict) -> None:
        self.dest, self.path = dest, dest / "progress.jsonl"
        self.done: set[str] = set()
        if self.path.exists():
            self._resume(header)
        elif dest.exists() and any(dest.iterdir()):
            raise ValueError(
                f"{dest} is not empty and was not prepared by data_prep; choose a new folder."
            )
        else:
            dest.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, (json.dumps(header) + "\n").encode())
        self.file = self.path.open("a", encoding="utf-8")

    def _resume(self, header: dict) -> None:
        written = self.path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]  # a kill may have torn the last line
        _check_same(self.dest, json.loads(whole[: whole.find(b"\n")]), header)
        if whole != written:
            write_atomically(self.path, whole)
        for leftover in self.dest.rglob("*.partial"):
            leftover.unlink()
        self.done = {entry["source"] for entry in self.entries()}

    def entries(self) -> Iterator[dict]:
        """All pictures noted so far, used and skipped."""
        with self.path.open(encoding="utf-8") as lines:
            next(lines)  # the options
            yield from (json.loads(line) for line in lines if line.endswith("\n"))

    def add(self, crop: Image.Image | None, entry: dict) -> None:
        """Write a crop, then note it: what is noted is there."""
        if crop is not None:
            png = io.BytesIO()
            crop.save(png, "PNG")
            target = self.dest / entry["split"] / entry["file_name"]
            target.parent.mkdir(exist_ok=True)
            write_atomically(target, png.getvalue())
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        self.done.add(entry["source"])
        count = len(self.done)
        if count & (count - 1) == 0:  # at 1, 2, 4, 8, ...: seldom enough to cost nothing
            self.write_metadata()

    def write_metadata(self) -> None:
        """metadata.csv of both splits, for all pictures noted so far."""
        tables = defaultdict(io.StringIO)
        for entry in self.entries():
            if "skipped" not in entry:
                table = tables[entry["split"]]
                writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
                if not table.tell():
                    writer.writeheader()
                writer.writerow(entry)
        for split, table in tables.items():
            write_atomically(self.dest / split / "metadata.csv", table.getvalue().encode())


def _finish(journal: Journal, options: dict) -> dict:
    """Write contact sheet and report; the report's presence says that the run is complete."""
    used = [entry for entry in journal.entries() if "skipped" not in entry]
    skipped = [entry for entry in journal.entries() if "skipped" in entry]
    counts, people = defaultdict(Counter), defaultdict(set)
    for entry in used:
        counts[entry["split"]][entry["expression"]] += 1
        if entry["subject"] is not None:
            people[entry["split"]].add(entry["subject"])
    report = {
        "options": options,
        "found": len(used) + len(skipped),
        "used": len(used),
        "skipped": dict(Counter(entry["skipped"] for entry in skipped)),
        "pictures": {s: {e: c[e] for e in EXPRESSIONS if c[e]} for s, c in sorted(counts.items())},
        "people": {split: len(names) for split, names in sorted(people.items())},
        "skipped_files": skipped,
    }
    if used:
        _contact_sheet(journal.dest, used, options["size"], options["seed"])
    text = json.dumps(report, indent=2, ensure_ascii=False)
    write_atomically(journal.dest / "report.json", text.encode())
    journal.path.unlink()
    return report


def _contact_sheet(dest: Path, used: list[dict], size: int, seed: int, columns: int = 10) -> None:
    """A row of random crops for each expression, to be looked at before anything is trained."""
    rows = [[e for e in used if e["expression"] == name] for name in EXPRESSIONS]
    rows = [row for row in rows if row]
    margin = 24
    sheet = Image.new("RGB", (columns * size, len(rows) * (size + margin)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for i, row in enumerate(rows):
        top = i * (size + margin)
        title = f"{row[0]['expression']}: {len(row)}"
        draw.text((4, top + 2), title, "black", font)
        for j, entry in enumerate(random.Random(seed).sample(row, min(columns, len(row)))):
            with Image.open(dest / entry["split"] / entry["file_name"]) as crop:
                sheet.paste(crop, (j * size, top + margin))
    png = io.BytesIO()
    sheet.save(png, "PNG")
    write_atomically(dest / "contact_sheet.png", png.getvalue())
