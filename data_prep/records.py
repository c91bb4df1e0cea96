"""What a data set says of each of its pictures, and the helpers that its layout is read with."""

import codecs
import csv
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmagan_lite.expressions import EXPRESSIONS

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".heic", ".heif"}

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

FAR = 1e5  # no picture has such a coordinate
LARGEST = 1_000_000  # bytes of the annotation of one picture


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
        ρ in [0, 1]; None if unknown, and 0 for neutral, whatever else the data set says.
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

    def __post_init__(self) -> None:
        """Neutral is the origin of all intensities; what lies outside [0, 1] is none."""
        if self.expression == "neutral":
            object.__setattr__(self, "intensity", 0.0)  # the way past "frozen"
        elif self.intensity is not None and not 0 <= self.intensity <= 1:  # NaN, too
            object.__setattr__(self, "intensity", None)

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


# ------------------------------------------------------------------------- files and folders


def walk(folder: Path, depth: int | None = None) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it, with the names of their files, sorted.

    What systems hide is left out (``._*`` and ``__MACOSX`` of macOS, ``.ipynb_checkpoints``).
    Only the names of one folder are held at a time; `depth` says how many levels to go down.

    Raises
    ------
    PermissionError, OSError
        If a folder is there and cannot be read: its pictures must not be lost in silence.
    """
    for root, inner, files in os.walk(folder, onerror=_unlisted):
        level = len(Path(root).relative_to(folder).parts)
        inner[:] = sorted(filter(_visible, inner)) if depth is None or level < depth else []
        yield Path(root), sorted(filter(_visible, files))


def _visible(name: str) -> bool:
    return not name.startswith(".") and name not in ("__MACOSX", "lost+found")


def _unlisted(error: OSError) -> None:
    """Layouts may ask for folders that are not there; all other errors are for the user to mend."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise type(error)(
            f"The folder {error.filename} cannot be read ({error.strerror}); allow it or move it "
            f"out of the source."
        )


def is_picture(name: str) -> bool:
    """Whether a file's name ends like a picture's, in any case and blanks aside."""
    return os.path.splitext(name)[1].replace(" ", "").lower() in SUFFIXES


def pictures(folder: Path, pattern: str = "*", depth: int | None = None) -> Iterator[Path]:
    """Picture files in a folder and below it, sorted; none if there is no such folder."""
    for root, names in walk(folder, depth):
        yield from (root / name for name in names if is_picture(name) and fnmatch(name, pattern))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none if there is no such folder."""
    inner = next(os.walk(folder, onerror=_unlisted), ("", [], []))[1]
    return [folder / name for name in sorted(filter(_visible, inner))]


def innermost(folder: Path, pattern: str) -> Path:
    """Follow folders of such a name inwards, as unpacking often nests them; case is ignored."""
    for inner in reversed(folders(folder)):
        if re.fullmatch(pattern, inner.name, re.IGNORECASE):
            return innermost(inner, pattern)
    return folder


def frames(folder: Path) -> list[Path]:
    """The pictures in a folder in the order of the last number in their names."""
    return sorted(pictures(folder, depth=0), key=_last_number)


def _last_number(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1), path.name


def paired(images: Path, annotations: Path, ending: str) -> Iterator[tuple[Path, Path]]:
    """Pictures and their annotations of the same stem and `ending`; one of two may be missing."""
    found = {Path(name).stem: name for _, names in walk(images, 0) for name in names}
    found = {stem: name for stem, name in found.items() if is_picture(name)}
    names = next(walk(annotations, 0), (annotations, []))[1]
    listed = {name.removesuffix(ending) for name in names if name.endswith(ending)}
    for stem in sorted(found.keys() | listed, key=lambda stem: (len(stem), stem)):  # 9 before 10
        yield images / found.get(stem, f"{stem}.jpg"), annotations / f"{stem}{ending}"


# --------------------------------------------------------------------- tables and annotations


def rows(source: Path, table: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a csv file in the source by column, in lower case and numbered from 0.

    Data sets travel with and without a first line that names the columns: it is one if it
    holds any of the official names, `columns`; else these, in their order, are the names.
    """
    _check_table(source, table)
    try:
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.reader(lines)
            first = next(reader, [])
            names = [cell.strip().lower() for cell in first]
            if set(names).isdisjoint(columns):
                names, reader = columns, chain([first], reader)
            for i, cells in enumerate(reader):
                if any(cells):
                    yield i, {n: cell.strip() for n, cell in zip(names, cells, strict=False)}
    except csv.Error as error:
        raise ValueError(f"{table} is not a table of comma-separated values ({error}).") from None


def words(source: Path, table: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of a table in the source as words between blanks or commas, numbered from 0.

    There are none if there is no such table.
    """
    if os.path.lexists(table):
        _check_table(source, table)
        with table.open(encoding="utf-8-sig", errors="replace") as lines:
            for i, line in enumerate(lines):
                if found := line.replace(",", " ").split():
                    yield i, found


def _check_table(source: Path, table: Path) -> None:
    """Refuse, before it is opened, what would carry foreign text into the result or never end."""
    if not _inside(source, table):
        raise ValueError(
            f"{table} leads outside the source {source}; put the file itself in its place."
        )
    if not table.is_file():  # opening a pipe would wait for ever
        raise ValueError(f"{table} is not a file; put the table of the data set in its place.")
    with table.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{table} is written in UTF-16; save it as UTF-8.")


def in_step(source: Path, table: Path) -> Callable[[str], list[str]]:
    """Look up what a table says of a picture, holding one line of it at a time.

    The names asked for, and those in the table, must rise: see `rising_names`.
    """
    lines = (line for _, line in words(source, table) if is_picture(line[0]))
    line = next(lines, None)

    def says(name: str) -> list[str]:
        nonlocal line
        while line and line[0] < name:
            line = next(lines, None)
        return line[1:] if line and line[0] == name else []

    return says


def in_any_order(source: Path, table: Path) -> Callable[[str], list[str]]:
    """Look up what a table says of a picture, holding all of it."""
    said = {line[0]: line[1:] for _, line in words(source, table) if is_picture(line[0])}
    return lambda name: said.get(name, [])


def rising_names(source: Path, table: Path) -> bool:
    """Whether a table names its pictures in alphabetical order."""
    names = (line[0] for _, line in words(source, table) if is_picture(line[0]))
    return all(before <= after for before, after in pairwise(names))


def annotation(
    source: Path, path: Path, read: Callable[[Path], object]
) -> tuple[object, tuple | None]:
    """What a small file says of a picture, and what is the matter with it: one of them is None."""
    if not _inside(source, path):
        return None, ("outside the source", path.name)
    try:
        _check_small(path)
        return read(path), None
    except FileNotFoundError:
        return None, ("annotation missing", path.name)
    except Exception as error:  # a broken file makes its reader raise almost anything
        return None, ("annotation unreadable", f"{path.name}: {error}")


def _check_small(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise ValueError("not a file")
    if status.st_size > LARGEST:
        raise ValueError(f"{status.st_size} bytes, expected at most {LARGEST}")


def listed(source: Path, folder: Path, name: str, table: Path, row: int) -> dict:
    """Where a picture lies that a table names: `path` for a `Record`.

    A table may come from anywhere, so it must not make us read outside the source: then the
    record is called after the table's row and has a problem.
    """
    if name and _inside(source, folder / name):
        return {"path": folder / name}
    problem = ("outside the source", name) if name else ("no file name", f"row {row}")
    return {"path": table, "row": row, "problem": problem}


def _inside(source: Path, path: Path) -> bool:
    if ".." in path.parts or "\0" in str(path):
        return False
    real = _real(path) if os.path.islink(path) else _real_folder(path.parent) / path.name
    return real.is_relative_to(_real_folder(source))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


_real_folder = lru_cache(maxsize=4096)(_real)  # else each of 400,000 pictures costs ten look-ups


# ------------------------------------------------------------------------ labels and places


def code(value: object) -> int | None:
    """A label's whole number, however it is written ("3", b"3", 3.0, "   3.0000000e+00")."""
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def floats(text: str, separator: str | None = None) -> list[float] | None:
    """Numbers in a text, between blanks or the separator; None if there is anything else."""
    try:
        return [float(word) for word in text.split(separator)]
    except ValueError:
        return None


def five_points(numbers: object) -> tuple[tuple[float, float], ...] | None:
    """The five landmarks of a `Record` from the usual 68 points of a face (or five of its own).

    Parameters
    ----------
    numbers : array-like of 136 or 10
        x and y in turn, or pairs of them.

    Returns
    -------
    tuple of 5 pairs of float or None
        Of 68 points, numbered from 0, the eyes are the means of 36 to 41 and 42 to 47, the nose
        30, the corners of the mouth 48 and 54. None if there are other than 68 or 5 points, or
        if they cannot lie on a face.
    """
    try:
        points = np.asarray(numbers, dtype=float).reshape(-1, 2)
    except (TypeError, ValueError):
        return None
    if len(points) == 68:
        eyes = points[36:42].mean(0), points[42:48].mean(0)
        points = np.stack([*eyes, points[30], points[48], points[54]])
    possible = np.abs(points).max(initial=0) < FAR  # False for NaN, too
    if len(points) != 5 or not possible or np.linalg.norm(points[0] - points[1]) < 1:
        return None
    return tuple((float(x), float(y)) for x, y in points)


def box(left: str, top: str, width: str, height: str) -> tuple[float, float, float, float] | None:
    """The `bbox` of a `Record` from a corner and a size; None if that is no box."""
    sides = floats(f"{left} {top} {width} {height}")
    if sides is None or len(sides) != 4 or min(sides[2:]) <= 0:
        return None
    if not np.abs(sides).max() < FAR:  # NaN, too
        return None
    return sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3]


def rising(paths: Sequence[Path], expression: str | None, **same: object) -> Iterator[Record]:
    """Records of frames that lead from neutral to the height of an expression.

    The intensity of frame t of T is (t - 1) / (T - 1), so the first frame is neutral; a frame
    that is alone is the height.
    """
    last = len(paths) - 1
    for i, path in enumerate(paths):
        intensity = i / last if last else 1.0
        name = expression if intensity else "neutral"
        yield Record(path=path, expression=name, intensity=intensity, **same)


def by_name(path: Path, pattern: str, codes: dict[str, str], **same: object) -> Record:
    """The record of a picture whose file name holds its person and its expression's code.

    Other names are misnamed pictures: no guess is made.
    """
    found = re.fullmatch(pattern, path.name, re.IGNORECASE)
    if found is None:
        problem = ("misnamed", path.name)
        return Record(path=path, expression=None, native_label="", problem=problem)
    label, subject = found["label"].upper(), found["person"].upper()
    return Record(
        path=path, expression=codes.get(label), native_label=label, subject=subject, **same
    )
