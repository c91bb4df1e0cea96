"""How data sets lie on disk: one function a layout, from its folder to a stream of records."""

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


@dataclass(frozen=True)
class Record:
    """One picture as its data set describes it.

    Parameters
    ----------
    path : Path
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
        Left, top, right, bottom of the labelled face; None if the data set gives none.
    """

    path: Path
    expression: str | None
    native_label: str
    split: str | None = None
    subject: str | None = None
    intensity: float | None = None
    bbox: tuple[float, float, float, float] | None = None


class Layout(NamedTuple):
    """What the folder must look like, in words, and the function that reads it."""

    expected: str
    records: Callable[[Path], Iterator[Record]]

    def fits(self, source: Path) -> bool:
        """Whether the folder holds at least one picture with a known expression."""
        return any(record.expression for record in self.records(source))


LAYOUTS: dict[str, Layout] = {}


def layout(expected: str) -> Callable:
    """Enter a function that yields records into `LAYOUTS`, under its own name."""

    def enter(records):
        LAYOUTS[records.__name__] = Layout(expected, records)
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


@layout("SOURCE/neutral_front/NNN_03.jpg and SOURCE/smiling_front/NNN_08.jpg")
def london(source: Path) -> Iterator[Record]:
    """Face Research Lab London Set (DeBruine & Jones 2017): NNN is the person."""
    for folder, take, expression in (
        ("neutral_front", "03", "neutral"),
        ("smiling_front", "08", "happiness"),
    ):
        for path in pictures(source / folder, f"[0-9]*_{take}.*"):
            yield Record(path, expression, folder, subject=path.stem.split("_")[0])


@layout(
    "SOURCE/<expression>/*.jpg or SOURCE/<train, val or test>/<expression>/*.jpg, the folders "
    f"named after expressions ({', '.join(EXPRESSIONS)}, or words such as happy and sad)"
)
def imagefolder(source: Path) -> Iterator[Record]:
    """One folder for each expression, as torchvision's and Hugging Face's readers expect."""
    by_split = [(SPLITS[f.name.lower()], f) for f in folders(source) if f.name.lower() in SPLITS]
    for split, parent in by_split or [(None, source)]:
        labelled = folders(parent)
        if not any(expression_named(folder.name) for folder in labelled):
            continue  # some other folder: do not search all that lies below it
        for folder in labelled:
            for path in pictures(folder):
                yield Record(path, expression_named(folder.name), folder.name, split)
