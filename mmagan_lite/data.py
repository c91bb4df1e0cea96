"""Faces to learn from: rendered ones with exact labels, and prepared photographs."""

import csv
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, lru_cache, partial
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from mmagan_lite import faces as renderer
from mmagan_lite.expressions import EXPRESSIONS, N, index, intensities

FIRST_IDENTITY = {"train": 0, "test": 1_000_000, "judge": 2_000_000}
"""Where each split of the procedural faces starts to count people: no two splits share one.
The judge of the evaluation learns from its own."""

FACES_PER_IDENTITY = 4
"""How many pictures there are of one person, on average."""

MOST_FACES = FACES_PER_IDENTITY * FIRST_IDENTITY["test"]
"""With more, the people of one split would reach into the next."""

CONFUSED_WITH = {
    "neutral": ("contempt", "sadness"),
    "happiness": ("contempt", "neutral"),
    "sadness": ("neutral", "fear"),
    "surprise": ("fear", "happiness"),
    "fear": ("surprise", "sadness"),
    "disgust": ("anger", "contempt"),
    "anger": ("disgust", "neutral"),
    "contempt": ("neutral", "happiness"),
}
"""What a wrong label says instead: the first of the two twice as often as the second.

People confuse expressions that look alike, which is harder on a learner than labels that are
wrong at random. Which ones, and how often, is our choice, not a measurement.
"""

RESAMPLING = Image.Resampling.BILINEAR
"""How prepared pictures are resized; Pillow averages over all pixels where it shrinks."""

progress = partial(tqdm, mininterval=1, disable=bool(os.environ.get("TQDM_DISABLE")))
"""A progress bar; none where TQDM_DISABLE is set, which tqdm's bar for notebooks does not heed."""


class Faces(Dataset):
    """What every set of faces offers: single items, and whole batches at once.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    expression : Tensor of shape (len,)
        Labels 0 to 7, int64.
    rho : Tensor of shape (len,)
        Intensities in [0, 1], float32; NaN where unknown.
    identity : Tensor of shape (len,)
        Which person it is, int64.
    """

    size: int
    expression: Tensor
    rho: Tensor
    identity: Tensor

    def __len__(self) -> int:
        return len(self.expression)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Images as stored: uint8 Tensor of shape (B, 3, size, size)."""
        raise NotImplementedError

    def batch(self, indices: Sequence[int] | Tensor, device: Any = "cpu") -> dict[str, Tensor]:
        """Several items at once, which is much faster than collating single ones.

        Parameters
        ----------
        indices : sequence of int, or Tensor of shape (B,)
        device : str or torch.device
            Where the tensors should lie.

        Returns
        -------
        dict
            ``image`` (B, 3, size, size) float32 in [-1, 1]; ``expression`` (B,) int64;
            ``rho`` (B,) float32, NaN where unknown; ``identity`` (B,) int64.
        """
        indices = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        image = self.pixels(indices.tolist()).to(device)  # (B, 3, H, W) uint8
        labels = {key: getattr(self, key)[indices] for key in ("expression", "rho", "identity")}
        return {
            "image": image.float().div_(127.5).sub_(1),
            **{key: value.to(device) for key, value in labels.items()},
        }

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The items of a batch: what PyTorch's DataLoader asks for before it collates them."""
        for number in numbers:
            if not -len(self) <= number < len(self):
                raise IndexError(f"There is no face {number} in a set of {len(self)}.")
        batch = self.batch(numbers)
        columns = [batch["image"], batch["expression"], batch["rho"], batch["identity"].tolist()]
        return [dict(zip(batch, item, strict=True)) for item in zip(*columns, strict=True)]


class MappedFaces(Faces):
    """Faces whose pixels are made once, then read from a file that is mapped into memory.

    A batch copies some rows of that file; the operating system keeps in memory as much of the
    rest as fits. The files are named for what they hold, and lie in the folder `cache`, else in
    the one that the environment variable ``MMAGAN_CACHE`` names, else in
    ``~/.cache/mmagan-lite``. What has changed gets a new file, and the old one stays: delete the
    folder whenever you like, and what is needed is made again.
    """

    chunk = 64
    """How many faces are made at a time: some for every processor core."""

    def make(self, part: slice) -> np.ndarray:
        """Some of the faces as they are to be kept: uint8, (b, 3, size, size)."""
        raise NotImplementedError

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Images as stored: uint8 Tensor of shape (B, 3, size, size)."""
        return torch.from_numpy(self._pixels[indices])

    def _open(self, cache: str | os.PathLike | None, name: str, key: str, title: str) -> None:
        """Map the file of what `key` determines, and make it first unless it is there."""
        folder = Path(cache or os.environ.get("MMAGAN_CACHE") or "~/.cache/mmagan-lite")
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._file = folder.expanduser() / f"{name}-{len(self)}x{self.size}-{digest}.npy"
        if not self._is_whole():
            with _one_at_a_time(self._file.parent):
                if not self._is_whole():  # nobody else has made it meanwhile
                    self._write(title)
        _ = self._pixels  # from here on the file may be deleted

    def _is_whole(self) -> bool:
        """Whether the file is there and holds what it should; a damaged one is made anew."""
        try:
            there = np.load(self._file, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return there.dtype == np.uint8 and there.shape == (len(self), 3, self.size, self.size)

    def _write(self, title: str) -> None:
        shape = (len(self), 3, self.size, self.size)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        advice = "Free some space, or name another folder in MMAGAN_CACHE or by cache=..."
        with write_atomically(self._file, advice) as file:
            np.lib.format.write_array_header_1_0(file, header)
            with progress(total=len(self), desc=title, unit="face") as bar:
                for start in range(0, len(self), self.chunk):
                    made = self.make(slice(start, start + self.chunk))
                    file.write(made.tobytes())
                    bar.update(len(made))

    @cached_property
    def _pixels(self) -> np.ndarray:  # (len, 3, H, W) uint8, left on disk
        return np.load(self._file, mmap_mode="r")

    def __getstate__(self) -> dict[str, Any]:
        """What goes to the processes of a DataLoader: the name of the file, not its content."""
        return {key: value for key, value in self.__dict__.items() if key != "_pixels"}


class ProceduralFaces(MappedFaces):
    """Rendered faces with exact labels, rendered once and then kept in a cache on disk.

    Expressions are uniform over the eight, intensities uniform in [0.2, 1] (0 for neutral), and
    a person has four pictures on average.

    Parameters
    ----------
    split : {"train", "test", "judge"}
        Splits share no person.
    faces : int
        Number of pictures.
    size : int
        Side in pixels.
    variety : float
        How much faces differ, 0 to 1; see `mmagan_lite.faces.render`.
    seed : int
        Seed of identities, expressions, intensities and wrong labels.
    cache : path, optional
        Folder for the rendered pictures; see `MappedFaces`.
    label_noise : float
        Chance that a face gets a wrong label (`CONFUSED_WITH`), 0 to 1; pictures stay the same.
        Two people labelled some of AffectNet's photographs and agreed on about 60 %; here two
        who are wrong at a quarter of the faces would. Measure on sets without noise.
    occlusion : float
        Share of photographs in which something hides a part of the face; see `render`.

    Attributes
    ----------
    expression, rho : Tensor of shape (len,)
        What a learner is told. A wrong label keeps the face's intensity, but a face that is
        called neutral has 0, and a neutral face that is called otherwise NaN: unknown.
    true_expression, true_rho : Tensor of shape (len,)
        What was drawn; the same without label noise.
    nuisance : Tensor of shape (len,)
        Seeds of pose, light and backdrop: with them `render` gives a face's exact counterpart
        in another expression.

    Raises
    ------
    ValueError
        If there is no such split, no face is asked for or label_noise is not a share.
    OSError
        If the cache cannot be written.
    """

    def __init__(
        self,
        split: str = "train",
        faces: int = 4_000,
        size: int = 64,
        variety: float = 1.0,
        seed: int = 0,
        cache: str | os.PathLike | None = None,
        label_noise: float = 0.0,
        occlusion: float = 0.0,
    ) -> None:
        if not isinstance(split, str) or split not in FIRST_IDENTITY:
            raise ValueError(f"split must be one of {', '.join(FIRST_IDENTITY)}; got {split!r}.")
        if type(faces) is not int or not 1 <= faces <= MOST_FACES:
            raise ValueError(
                f"faces must be a whole number from 1 to {MOST_FACES:,}; got {faces!r}."
            )
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed!r}.")
        if not isinstance(label_noise, Real) or not 0 <= label_noise <= 1:
            raise ValueError(f"label_noise must be from 0 to 1; got {label_noise!r}.")
        self.split, self.size, self.variety, self.occlusion = split, size, variety, occlusion
        first = FIRST_IDENTITY[split]
        random = torch.Generator().manual_seed(seed)
        people = -(-faces // FACES_PER_IDENTITY)  # rounded up
        self.identity = first + torch.randint(people, (faces,), generator=random)
        self.true_expression = torch.randint(N, (faces,), generator=random)
        rho = 0.2 + 0.8 * torch.rand(faces, generator=random)
        self.true_rho = rho.masked_fill(self.true_expression == 0, 0)
        self.expression = annotate(self.true_expression, label_noise, random)
        self.rho = self.true_rho.masked_fill(self.expression == 0, 0)
        self.rho[(self.true_expression == 0) & (self.expression != 0)] = torch.nan
        self.nuisance = first + torch.arange(faces)

        what = f"{_renderer_version()} {' '.join(EXPRESSIONS)} {split} {faces} {size}"
        what += f" {variety} {occlusion} {seed}"
        self._open(cache, f"faces-{split}", what, f"rendering {split} faces")

    def make(self, part: slice) -> np.ndarray:
        """Some of the faces as they are to be kept: uint8, (b, 3, size, size)."""
        image = renderer.render(
            self.identity[part],
            self.true_expression[part],
            self.true_rho[part],
            self.nuisance[part],
            self.size,
            self.variety,
            self.occlusion,
        )  # (b, 3, H, W) in [0, 1]
        return image.mul(255).round().to(torch.uint8).numpy()


class PreparedFaces(MappedFaces):
    """Photographs that ``python -m data_prep`` has found, aligned and labelled.

    They are read and resized once, with all processor cores, and then kept uncompressed in a
    cache on disk: 49 kB a face at 128 pixels. Pictures that are added, removed, replaced or
    reordered make a new file there; labels are read anew every time.

    Parameters
    ----------
    folder : path
        Where data_prep wrote: ``train/`` and ``test/``, each with PNG files and a
        ``metadata.csv`` (columns file_name, expression, intensity, subject and others).
    split : {"train", "test"}
    size : int
        Side in pixels to which images are resized.
    cache : path, optional
        Folder for the resized pictures; see `MappedFaces`.

    Attributes
    ----------
    files : list of Path
        The images, in the order of the items.

    Raises
    ------
    FileNotFoundError
        If the folder is not such a folder or lacks an image that its table names.
    ValueError
        If the table names an expression or intensity that does not exist, or an image cannot be
        read.
    OSError
        If the cache cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        split: str = "train",
        size: int = 64,
        cache: str | os.PathLike | None = None,
    ) -> None:
        self.size = size
        table = Path(folder).absolute() / split / "metadata.csv"
        if not table.is_file():
            if (table.parents[1] / "report.json").is_file():
                raise FileNotFoundError(f"{table.parents[1]} has no pictures for {split!r}.")
            raise FileNotFoundError(
                f"{table} does not exist; give the folder that `python -m data_prep` wrote, "
                f"the one in which train/metadata.csv and test/metadata.csv lie."
            )
        rows = _rows(table)
        self.expression = torch.tensor([index(row["expression"]) for row in rows]).long()
        self.rho = torch.tensor([_known_rho(row) for row in rows])
        people = [row["subject"] or row["file_name"] for row in rows]  # unknown: someone else
        number = {person: i for i, person in enumerate(sorted(set(people)))}
        self.identity = torch.tensor([number[person] for person in people]).long()
        self.files = [table.parent / row["file_name"] for row in rows]
        what = "\n".join([f"{size} {RESAMPLING.name}", *map(_fingerprint, self.files)])
        self._open(cache, f"prepared-{split}", what, f"reading {split} pictures")

    def make(self, part: slice) -> np.ndarray:
        """Some of the faces as they are to be kept: uint8, (b, 3, size, size)."""
        with ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
            return np.stack(list(pool.map(self._read, self.files[part])))

    def _read(self, path: Path) -> np.ndarray:
        side = (self.size, self.size)
        try:
            with Image.open(path, formats=("PNG", "JPEG", "BMP", "TIFF", "WEBP")) as image:
                pixels = np.array(image.convert("RGB").resize(side, RESAMPLING))
        except Exception as error:  # a broken file makes Pillow raise almost anything
            raise ValueError(f"{path} is not a readable image; prepare the set again.") from error
        return pixels.transpose(2, 0, 1)  # (3, H, W)


def check(data: Faces) -> None:
    """The pre-flight check: that something can be learned from this set.

    Raises
    ------
    ValueError
        If it is empty or all its faces show the same expression: a generator trained on it
        would give the same picture for every z.
    """
    if len(data) == 0:
        raise ValueError("The data set is empty; give one with faces of two expressions or more.")
    found = data.expression.unique().tolist()
    if len(found) == 1:
        raise ValueError(
            f"All {len(data)} faces of the data set show {EXPRESSIONS[found[0]]}; editing is "
            f"learned from two expressions or more."
        )


def batch_indices(length: int, batch_size: int, number: int, seed: int = 0) -> Tensor:
    """Which items make up a batch: a pure function, so that resuming needs no more than a count.

    Batches cut an endless row of epochs, each a new permutation of the set.

    Parameters
    ----------
    length : int
        Items in the set.
    batch_size : int
    number : int
        Which batch, from 0.
    seed : int

    Returns
    -------
    Tensor of shape (batch_size,)
        Indices, int64.
    """
    first, last = number * batch_size, (number + 1) * batch_size - 1
    epochs = range(first // length, last // length + 1)
    row = np.concatenate([_permutation(length, seed, epoch) for epoch in epochs])
    start = first - epochs[0] * length
    return torch.from_numpy(row[start : start + batch_size])


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


@contextmanager
def write_atomically(
    path: str | os.PathLike, advice: str = "Free some space or choose another folder."
) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when it is complete.

    Parameters
    ----------
    path : path
    advice : str
        How the sentence ends if it cannot be written.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; an earlier file of that name is unharmed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            f"Could not write {path} ({error.strerror or error}); nothing was changed there. "
            f"{advice}"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike) -> None:
    """Notice before long work, not after it, that its result cannot be written.

    Parameters
    ----------
    path : path
        The file to be; it is not made, nor is its folder.

    Raises
    ------
    OSError
        If it is a folder, or no file can be made beside it.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}); choose another file."
        ) from error


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let other processes that want to write to a folder wait, where that is possible.

    The operating system ends the wait when this process ends, however that may be.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):  # not on Windows, nor on every network drive
            import fcntl

            folder.mkdir(parents=True, exist_ok=True)
            number = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, number)
            fcntl.flock(number, fcntl.LOCK_EX)
        yield


def annotate(true: Tensor, noise: float, random: torch.Generator) -> Tensor:
    """Labels as an annotator gives them, some of them wrong.

    Parameters
    ----------
    true : Tensor of shape (B,)
        What the faces show, labels 0 to 7.
    noise : float
        Chance of a wrong label (`CONFUSED_WITH`), 0 to 1. More noise from an equal generator
        keeps the wrong labels of less.
    random : torch.Generator

    Returns
    -------
    Tensor of shape (B,)
    """
    wrong = torch.rand(len(true), generator=random) < noise
    second = torch.rand(len(true), generator=random) > 2 / 3
    pairs = [[index(name) for name in CONFUSED_WITH[expression]] for expression in EXPRESSIONS]
    taken_for = torch.tensor(pairs)  # (8, 2)
    return torch.where(wrong, taken_for[true, second.long()], true)


def _rows(table: Path) -> list[dict[str, str]]:
    """The rows of a metadata.csv, which somebody may have edited by hand."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:  # spreadsheets write a BOM
            reader = csv.DictReader(file)
            names, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is not a table in UTF-8 with commas ({error}).") from None
    missing = {"file_name", "expression", "intensity", "subject"} - set(names)
    if missing:
        raise ValueError(f"{table} lacks the column {min(missing)}; prepare the set again.")
    for number, row in enumerate(rows, 2):
        name = row["file_name"] or ""
        if not name or Path(name).name != name or "\0" in name or row["expression"] is None:
            raise ValueError(
                f"Row {number} of {table} names {name!r}; expected a picture beside the table."
            )
    return rows


def _known_rho(row: dict[str, str]) -> float:
    """The intensity of a row of metadata.csv: NaN where unknown, 0 for neutral."""
    if row["expression"] == "neutral":
        return 0.0
    if not row["intensity"]:
        return float("nan")
    try:
        return float(intensities(float(row["intensity"])))
    except ValueError:
        raise ValueError(
            f"{row['file_name']} has intensity {row['intensity']!r}; expected a number from 0 to "
            f"1, or nothing where it is unknown."
        ) from None


def _fingerprint(picture: Path) -> str:
    """What tells a picture from the one that lay there before: name, size and time of change."""
    try:
        found = picture.stat()
    except OSError as error:
        raise FileNotFoundError(
            f"{picture.parent / 'metadata.csv'} names {picture.name}, which is missing; "
            f"prepare the set again."
        ) from error
    return f"{picture} {found.st_size} {found.st_mtime_ns}"


def _renderer_version() -> str:
    """A digest of the renderer's source: a changed renderer renders anew."""
    sources = sorted((Path(__file__).parent / "faces").glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
