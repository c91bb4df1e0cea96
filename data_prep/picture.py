"""One picture: open it, find and cut out its face, and note what the report needs to know."""

import io
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from data_prep.duplicates import fingerprint
from data_prep.records import Record
from mmagan_lite.detection import (
    Face,
    FaceNotFoundError,
    SeveralFacesError,
    TooLargeError,
    align,
    contains,
    detect,
    find_face,
    load_image,
    open_picture,
)

GREY = 2  # levels by which the colours of a pixel differ on average, at most, in a grey picture
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Job(NamedTuple):
    """A picture to prepare, and how: what one worker needs to know of it."""

    record: Record
    number: int  # in the order of the data set, from 0
    split: str
    split_by: str
    source: Path
    size: int
    align: bool
    fingerprint: bool


class UnusableError(Exception):
    """A picture that cannot be used: the reason in two or three words, and the detail."""

    def __init__(self, reason: str, detail: object) -> None:
        super().__init__(reason, str(detail))
        self.reason, self.detail = reason, str(detail)


def prepare_one(job: Job) -> tuple[bytes | None, dict]:
    """The crop as a PNG file and its journal entry; None and the reason if there is no crop."""
    try:
        return _prepare(job)
    except UnusableError as error:
        reason, detail = error.reason, error.detail
    except FaceNotFoundError as error:
        reason, detail = "no face", error
    except SeveralFacesError as error:
        reason, detail = "several faces", error
    except Exception as error:  # whatever one file provokes, the others go on
        reason, detail = "failed", repr(error)
    return None, {
        "source": job.record.name(job.source), "skipped": reason, "detail": short(str(detail)),
    }  # fmt: skip


def _prepare(job: Job) -> tuple[bytes, dict]:
    record = job.record
    if record.problem is not None:
        raise UnusableError(*record.problem)
    check_inside(record.path, job.source)
    if record.expression is None:
        raise UnusableError("unknown label", record.native_label)
    photo = _photograph(record)
    if max(high for _, high in photo.getextrema()) == 0:
        raise UnusableError("all black", f"{photo.width} x {photo.height} pixels")
    crop, upscaled = _cut(photo, record, job.size) if job.align else _middle(photo, job.size)
    png = io.BytesIO()
    crop.save(png, "PNG")
    intensity = 0.0 if record.expression == "neutral" else record.intensity
    return png.getvalue(), {
        "split": job.split,
        "file_name": f"{_stem(record.path)}-{job.number:06}.png",
        "expression": record.expression,
        "intensity": None if intensity is None else float(intensity),
        "subject": record.subject,
        "source": record.name(job.source),
        "native_label": short(record.native_label),
        "split_by": job.split_by,
        "grey": is_grey(crop),
        "upscaled": upscaled,
        "hash": fingerprint(_labelled(photo, record)) if job.fingerprint else None,
    }


def short(text: str, most: int = 200) -> str:
    """A text without its middle if it is long: data sets may say anything, pages are to be read."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"


def _stem(path: Path) -> str:
    """The file's name, so that people recognise it, without what some system refuses."""
    return re.sub(r"[^\w.-]", "_", path.stem)[:40].lstrip(".")


# ------------------------------------------------------------------------------------ opening


def check_inside(path: Path, source: Path) -> None:
    """Refuse a file outside the source, wherever a list of files or a link points."""
    real = Path(os.path.realpath(path))  # resolve() fails where links lead in a circle
    if not real.is_relative_to(source):
        raise UnusableError("outside the source", f"{path} leads to {real}")


def _photograph(record: Record) -> Image.Image:
    if record.pixels is not None:
        side = math.isqrt(len(record.pixels))
        return load_image(Image.frombytes("L", (side, side), record.pixels))
    try:
        _check_file(record.path)
        _check_size(record.path)
        return load_image(record.path)
    except UnusableError:
        raise
    except Exception as error:  # a broken file makes Pillow raise almost anything
        raise UnusableError("unreadable", error) from None


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UnusableError("missing file", f"{path} does not exist")
    if not path.is_file():  # opening a pipe would wait for ever
        raise UnusableError("unreadable", f"{path} is not a file")
    if path.stat().st_size == 0:
        raise UnusableError("empty file", f"{path} has 0 bytes")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise UnusableError("Git LFS pointer", f"{path} stands for a file; run git lfs pull")


def _check_size(path: Path) -> None:
    """Look at the size that a file claims before anything is unpacked."""
    try:
        with path.open("rb") as file, open_picture(file, path.name) as image:
            width, height = image.size
    except TooLargeError as error:
        raise UnusableError("too large", error) from None
    if min(width, height) < 16:
        raise UnusableError("too small", f"only {width} x {height} pixels, expected 16 x 16")


# ------------------------------------------------------------------------------------ cutting


def _cut(photo: Image.Image, record: Record, size: int) -> tuple[Image.Image, bool]:
    crop, transform = align(photo, _face(photo, record), size)
    return crop, bool(transform.scale > 1)


def _middle(photo: Image.Image, size: int) -> tuple[Image.Image, bool]:
    return ImageOps.fit(photo, (size, size)), min(photo.size) < size


def _face(photo: Image.Image, record: Record) -> Face:
    """The face that the data set means: by its landmarks, its box, or the only one there."""
    if record.landmarks is not None:
        x, y = np.array(record.landmarks, dtype=float).T
        box = tuple(map(float, (x.min(), y.min(), x.max(), y.max())))
        return _within(photo, Face(box, None, record.landmarks))
    if record.bbox is None:
        return find_face(photo)
    labelled = _within(photo, Face(record.bbox))
    faces = [face for face in detect(photo) if contains(labelled.box, face.centre)]
    return faces[0] if faces else labelled


def _within(photo: Image.Image, face: Face) -> Face:
    """The face, if its place can be one in this photograph."""
    left, top, right, bottom = face.box
    width, height = right - left, bottom - top
    fits = 0 < width <= 2 * photo.width and 0 < height <= 2 * photo.height  # some stick out
    if not fits or not contains((0, 0, *photo.size), face.centre):
        place = ", ".join(f"{side:g}" for side in face.box)
        raise UnusableError(
            "impossible box", f"{place} in a picture of {photo.width} x {photo.height} pixels"
        )
    return face


# ----------------------------------------------------------------------------- for the report


def _labelled(photo: Image.Image, record: Record) -> Image.Image:
    """What is compared with other pictures: the labelled box, else all of the photograph."""
    if record.bbox is None:
        return photo
    left, top, right, bottom = (round(side) for side in record.bbox)
    box = max(left, 0), max(top, 0), min(right, photo.width), min(bottom, photo.height)
    return photo.crop(box) if box[0] < box[2] and box[1] < box[3] else photo


def is_grey(image: Image.Image) -> bool:
    """Whether a picture has no colours, JPEG's small errors aside."""
    pixels = np.asarray(image).astype(np.int16)  # (H, W, 3)
    return bool((pixels.max(axis=2) - pixels.min(axis=2)).mean() < GREY)
