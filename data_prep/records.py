"""What a data set says of each of its pictures, and the helpers that its layout is read with."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mmagan_lite.expressions import EXPRESSIONS

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}

SYNONYMS = {
    "neutral": "neutrality neutralness",
    "happiness": "happy joy joyful smile smiling",
    "sadness": "sad unhappy",
    "surprise": "surprised",
    "fear": "fearful afraid scared",
    "disgust": "disgusted",
    "anger": "angry mad",
    "contempt": "contemptuous scorn",
}
_EXPRESSION = {word: name for name in EXPRESSIONS for word in [name, *SYNONYMS[name].split()]}

SPLITS = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test", "val": "test", "valid": "test", "validation": "test",
}  # fmt: skip
"""Names of split folders; whatever is not for training is for testing."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One picture as its data set describes it.

    Parameters
    ----------
    path : Path
        The file that holds the picture.
    expression : str or None
        A name in `EXPRESSIONS`; None if the data set's label is none of them.
    native_label : str
        The label in the data set's own words.
    split : {"train", "test"} or None
        None if the data set leaves the choice to us.
    subject : str or None
        Who is seen; None if unknown.
    intensity : float or None
        ρ in [0, 1]; None if unknown.
    bbox : tuple of float or None
        Left, top, right, bottom of the labelled face, in pixels of the file; None if the data
        set gives none.
    landmarks : tuple of 5 pairs of float or None
        (x, y) of the left eye, right eye, nose, left and right corner of the mouth, as the
        viewer sees them, in pixels of the file: with them no detector is needed.
    row : int or None
        Which row of `path`, from 0, where that is a table of pictures.
    pixels : bytes or None
        The grey levels of a square picture from such a table.
    problem : tuple of (reason, detail) or None
        Why the picture cannot be used, where the data set itself shows it; the reason in two or
        three words, the same for all pictures that share it.
    """

    path: Path
    expression: str | None
    native_label: str
    split: str | None = None
    subject: str | None = None
    intensity: float | None = None
    bbox: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    row: int | None = None
    pixels: bytes | None = None
    problem: tuple[str, str] | None = None

    def name(self, source: Path) -> str:
        """What the record is called in the source: its path there, and its row in a table."""
        name = Path(os.path.relpath(self.path, source)).as_posix()
        return name if self.row is None else f"{name}#{self.row}"


class Layout(NamedTuple):
    """How a data set lies on disk.

    Parameters
    ----------
    records : callable
        From the folder to a stream of `Record`, always in the same order.
    expected : str
        What the folder must look like, in words.
    crops : bool
        Whether its pictures are face crops already, so that no face is to be searched.
    intensity : str
        Where the intensities come from and what they are worth; empty if there are none.
    """

    records: Callable[[Path], Iterator[Record]]
    expected: str
    crops: bool = False
    intensity: str = ""

    def fits(self, source: Path) -> bool:
        """Whether the folder holds at least one picture with a known expression."""
        return any(record.expression for record in self.records(source))


LAYOUTS: dict[str, Layout] = {}


def layout(expected: str, *, crops: bool = False, intensity: str = "") -> Callable:
    """Enter a function that yields records into `LAYOUTS`, under its own name."""

    def enter(records):
        LAYOUTS[records.__name__] = Layout(records, expected, crops, intensity)
        return records

    return enter


def expression_named(label: str) -> str | None:
    """The expression that a label means by its name: "Happy" is happiness, "3" is nothing."""
    return _EXPRESSION.get(re.sub(r"[\W_]+", "", label).casefold())


def pictures(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Picture files below a folder, sorted; hidden ones (``._*`` of macOS) are left out."""
    for path in sorted(folder.rglob(pattern)):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_dir())
