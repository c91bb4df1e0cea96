"""What one should know of a prepared data set before training on it, counted in one pass."""

import csv
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from data_prep.duplicates import BITS, NEAR, near_pairs
from data_prep.journal import Journal, Lock, Table, written_whole
from data_prep.page import page
from data_prep.records import LAYOUTS
from data_prep.splits import rank
from mmagan_lite.expressions import EXPRESSIONS

LISTED = 1000  # skipped files in report.json; skipped.csv holds all of them
PAIRS = 100  # near-duplicates listed
SHOWN = 10  # crops of each expression on the contact sheet
THUMBNAIL = 128  # their side there, at most


REPORTED = {
    "options", "found", "used", "skipped", "pictures", "people", "grey", "upscaled",
    "near_duplicates",
}  # fmt: skip


class Tally:
    """Counts over the entries of a journal; its size does not grow with theirs, hashes aside."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.found = 0
        self.known_intensities = 0
        self.counts = Counter()  # of "grey", "upscaled" and reasons to be split so
        self.skipped: Counter[str] = Counter()
        self.skipped_files: list[dict] = []
        self.pictures: dict[str, Counter] = defaultdict(Counter)
        self.people: dict[str, set] = defaultdict(set)
        self.split_by: Counter[str] = Counter()
        self.hashes: dict[str, bytearray] = defaultdict(bytearray)
        self.samples: dict[str, list] = defaultdict(list)

    def add(self, entry: dict) -> None:
        """Count one picture."""
        self.found += 1
        if "skipped" in entry:
            self.skipped[entry["skipped"]] += 1
            if len(self.skipped_files) < LISTED:
                self.skipped_files.append(entry)
            return
        split, expression = entry["split"], entry["expression"]
        self.pictures[split][expression] += 1
        self.split_by[entry["split_by"]] += 1
        self.counts.update(key for key in ("grey", "upscaled") if entry[key])
        self.known_intensities += expression != "neutral" and entry["intensity"] is not None
        if entry["subject"] is not None:
            self.people[split].add(entry["subject"])
        if entry["hash"] is not None:
            self.hashes[split] += bytes.fromhex(entry["hash"])
        self._sample(self.samples[expression], entry)

    def _sample(self, sample: list, entry: dict) -> None:
        """Keep the crops of the lowest random numbers: any `SHOWN` of them, always the same."""
        item = -rank(self.seed, entry["source"]), f"{entry['split']}/{entry['file_name']}"
        (heapq.heappush if len(sample) < SHOWN else heapq.heappushpop)(sample, item)

    @property
    def used(self) -> int:
        """Pictures that became crops."""
        return sum(counts.total() for counts in self.pictures.values())

    def contact_sheet(self) -> dict[str, list[str]]:
        """Some crops of each expression, as paths in DEST."""
        return {
            name: [file for _, file in sorted(self.samples[name], reverse=True)]
            for name in EXPRESSIONS
            if name in self.samples
        }

    def report(self) -> dict:
        """The counts as report.json has them."""
        pictures = sorted(self.pictures.items())
        return {
            "found": self.found,
            "used": self.used,
            "skipped": dict(self.skipped.most_common()),
            "split": {
                "how": " and ".join(sorted(self.split_by)),
                **{split: counts.total() for split, counts in reversed(pictures)},
            },
            "pictures": {s: {e: c[e] for e in EXPRESSIONS if c[e]} for s, c in pictures},
            "people": {split: len(names) for split, names in sorted(self.people.items())},
            "people_in_both_splits": len(self.people["train"] & self.people["test"]),
            "grey": self.counts["grey"],
            "upscaled": self.counts["upscaled"],
        }


def write_report(journal: Journal, options: dict) -> dict:
    """Write all that describes the set; report.json comes last and says that it is complete."""
    tally = Tally(options["seed"])
    with written_whole(journal.dest / "skipped.csv") as file:
        for entry in _listing_skipped(journal.entries(), file):
            tally.add(entry)
    layout = LAYOUTS[options["layout"]]
    report = {
        "options": options,
        **tally.report(),
        "intensity": {"known": tally.known_intensities, "source": layout.intensity},
        "near_duplicates": _near_duplicates(journal, tally, options),
        "skipped_files": tally.skipped_files,
    }
    if tally.samples:
        _draw_contact_sheet(journal.dest, tally)
    with written_whole(journal.dest / "report.html") as file:
        file.write(page(report, tally.contact_sheet(), journal.dest))
    with written_whole(journal.dest / "report.json") as file:
        file.write(json.dumps(report, indent=2, ensure_ascii=False))
    journal.path.unlink(missing_ok=True)
    return report


def read_report(dest: Path) -> dict | None:
    """The report of a folder that is finished, or None; what a kill at the end left there goes.

    Raises
    ------
    ValueError
        If report.json is damaged.
    """
    path, report = dest / "report.json", None
    if not path.exists():
        return None
    with suppress(ValueError):
        report = json.loads(path.read_bytes())
    if not isinstance(report, dict) or not report.keys() >= REPORTED:
        raise ValueError(f"{path} is damaged; delete {dest} and prepare again.")
    for leftover in (Journal.NAME, Lock.NAME):
        with suppress(OSError):  # the disk may be for reading only
            (dest / leftover).unlink(missing_ok=True)
    return report


def _listing_skipped(entries: Iterable[dict], file) -> Iterator[dict]:
    """All entries, those of skipped pictures written to a table on their way."""
    table = csv.writer(Table(file))
    table.writerow(["source", "reason", "detail"])
    for entry in entries:
        if "skipped" in entry:
            table.writerow([entry["source"], entry["skipped"], entry["detail"]])
        yield entry


def _near_duplicates(journal: Journal, tally: Tally, options: dict) -> dict | None:
    """Pairs of pictures, one in each split, that look like copies; None if none were sought."""
    if not options["fingerprints"]:
        return None
    threshold = NEAR["photographs" if options["align"] else "crops"]
    hashes = (bytes(tally.hashes[split]) for split in ("train", "test"))
    pairs, concerned, kept = near_pairs(*hashes, threshold, PAIRS)
    names = _file_names(journal.entries(), {i for i, _, _ in kept}, {j for _, j, _ in kept})
    return {
        "pairs": pairs,
        "test_pictures": concerned,
        "bits": BITS,
        "threshold": threshold,
        "files": [
            {"train": names["train", i], "test": names["test", j], "bits": bits}
            for i, j, bits in kept
        ],
    }


def _file_names(entries: Iterable[dict], train: set[int], test: set[int]) -> dict:
    """The files of these numbers in their split, as paths in DEST."""
    wanted, seen, names = {"train": train, "test": test}, Counter(), {}
    for entry in entries:
        if "skipped" not in entry:
            split = entry["split"]
            if seen[split] in wanted[split]:
                names[split, seen[split]] = f"{split}/{entry['file_name']}"
            seen[split] += 1
    return names


def _draw_contact_sheet(dest: Path, tally: Tally, margin: int = 24) -> None:
    """A row of random crops for each expression, to be looked at before anything is trained."""
    rows = tally.contact_sheet()
    side = THUMBNAIL
    sheet = Image.new("RGB", (SHOWN * side, len(rows) * (side + margin)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for row, (expression, files) in enumerate(rows.items()):
        top = row * (side + margin)
        n = sum(counts[expression] for counts in tally.pictures.values())
        draw.text((4, top + 2), f"{expression}: {n}", "black", font)
        for column, file in enumerate(files):
            with Image.open(dest / file) as crop:
                crop.thumbnail((side, side))
                sheet.paste(crop, (column * side, top + margin))
    with written_whole(dest / "contact_sheet.png", "wb") as file:
        sheet.save(file, "PNG")
