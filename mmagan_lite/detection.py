"""Find a face in a photograph, cut it out upright, and put an edited one back without a seam."""

import functools
import io
import math
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from skimage.transform import SimilarityTransform
from torch import Tensor
from torch.nn import functional as F

Picture = Image.Image | np.ndarray | str | Path | bytes | BinaryIO
"""What `load_image` takes, and all that call it."""

MIN_PROBABILITY = 0.9  # MTCNN's own threshold of 0.7 also lets collars and ears through
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")  # "JPEG" opens MPO, too
"""What pictures may be, whatever they are called; for others Pillow may start Ghostscript."""

HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

DETECTION_SIDE = 640  # larger photographs are shrunk to this for finding, not for cropping

# Where the eyes lie in an aligned crop, as shares of its side: the face, from hairline to chin
# some 2.9 eye distances high, then fills 80 % of the frame.
EYE_LINE = 0.43
EYE_DISTANCE = 0.275

# Where the eyes lie in a box of the cascade, as shares of its width (medians over portraits).
CASCADE_EYE_LINE = 0.4
CASCADE_EYE_DISTANCE = 0.385

# What an edit may change: an oval as high as the crop. It holds 99 % of what expressions change in
# drawn faces, and leaves out the backdrop beside the face, where generators leave traces.
OVAL_WIDTH = 0.84  # as a share of its height
ROUNDNESS = 2.5  # 2 would be an ellipse; this is a little nearer to a box, for the jaw
FEATHER = 0.1  # share of the crop's side over which an edit fades out
STRIP = 128  # rows of a photograph that are changed at a time


class FaceNotFoundError(ValueError):
    """No face was found where one was expected."""


class SeveralFacesError(ValueError):
    """Several faces were found and it is not clear which one is meant."""


@dataclass(frozen=True)
class Face:
    """A face in a photograph; coordinates in its pixels, (0, 0) the upper left corner.

    Parameters
    ----------
    box : tuple of float
        Left, top, right, bottom.
    probability : float or None
        The detector's confidence, 0 to 1; None from a detector that gives none.
    landmarks : tuple of 5 pairs of float or None
        (x, y) of the left eye, right eye, nose, left and right corner of the mouth, as the
        viewer sees them; None from a detector that gives none.
    """

    box: tuple[float, float, float, float]
    probability: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    @property
    def centre(self) -> tuple[float, float]:
        """Of the box: (x, y)."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


def load_image(source: Picture) -> Image.Image:
    """Any usual picture as an upright RGB image.

    EXIF rotation is applied; grey, palette, CMYK and 16-bit pictures become RGB of 8 bits; what
    is transparent becomes white; of an animation the first frame is taken.

    Parameters
    ----------
    source : PIL image, uint8 array of shape (H, W), (H, W, 3) or (H, W, 4), path, bytes or file
        Bytes are the content of a file, such as an upload; a file is open for reading bytes.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, at least 16 x 16 pixels. An upright RGB image is given back as it is, not
        copied.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` is of another type, an array not of uint8, or a file of text.
    ValueError
        If the file is no readable picture, or the picture has a wrong shape or size. The limit
        is Pillow's: ``PIL.Image.MAX_IMAGE_PIXELS``, 89 megapixels.
    """
    if isinstance(source, np.ndarray):
        return _upright(_from_array(source), "The array")
    if isinstance(source, Image.Image):
        return _upright(source, "The picture")
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), "The file")
    if hasattr(source, "read"):
        return _from_open_file(source)
    raise TypeError(
        f"Expected a PIL image, a uint8 array, a path, the bytes of a file or an open file; got "
        f"{type(source).__name__}."
    )


def _from_path(path: Path) -> Image.Image:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if not path.is_file():  # opening a pipe would wait for ever
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise ValueError(f"{path} is {what}, not a readable picture; give the path of a picture.")
    with path.open("rb") as file:
        return _from_file(file, str(path))


def _from_open_file(file: BinaryIO) -> Image.Image:
    if file.seekable():
        file.seek(0)  # whoever has just written a picture stands at its end
    content, name = file.read(), getattr(file, "name", None)
    if not isinstance(content, bytes):
        raise TypeError("The file is open for text; open it for bytes: open(path, 'rb').")
    return _from_file(io.BytesIO(content), name if isinstance(name, str) else "The file")


def _from_file(file: BinaryIO, name: str) -> Image.Image:
    """Its picture; `name` is what errors call the file."""
    with open_picture(file, name) as image:
        return _upright(image, name)


class TooLargeError(ValueError):
    """A picture of more pixels than Pillow unpacks for fear of a trap."""


def open_picture(file: BinaryIO, name: str) -> Image.Image:
    """Read the head of a file; its pixels are not unpacked yet.

    Parameters
    ----------
    file : file open for reading bytes, at its beginning
    name : str
        What errors call it.

    Raises
    ------
    ValueError
        If it is no picture of a kind that `load_image` reads.
    TooLargeError
        If it claims more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    head = file.read(12)
    if not head:
        raise ValueError(f"{name} is not a readable picture: it is empty (0 bytes).")
    if _is_heic(head):
        _prepare_for_heic(name)
    heif = ("HEIF",) if "HEIF" in Image.OPEN else ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file, formats=(*FORMATS, *heif))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise TooLargeError(
            f"{name} is too large: pictures of more than {Image.MAX_IMAGE_PIXELS / 1e6:.3g} "
            f"megapixels are not read; give a smaller copy."
        ) from None
    except Exception:  # a broken file makes Pillow raise almost anything
        raise ValueError(
            f"{name} is not a readable picture, whatever its name says; expected a JPEG, PNG, "
            f"WebP, GIF, BMP, TIFF or HEIC file."
        ) from None


def _is_heic(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS


def _prepare_for_heic(name: str) -> None:
    """Teach Pillow the format of iPhones, by the library for it."""
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise ValueError(
            f"{name} is a HEIC picture, which needs one package more: pip install pillow-heif, "
            f"or save the picture as JPEG."
        ) from None
    register_heif_opener()


def _upright(image: Image.Image, name: str) -> Image.Image:
    """Unpacked, turned as its EXIF says, and in RGB."""
    if min(image.size) < 16:
        raise ValueError(
            f"The picture is only {image.width} x {image.height} pixels; give one of at least "
            f"16 x 16."
        )
    try:
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    except Exception as error:  # as above; some messages fill several lines
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{name} is not a readable picture: it is damaged or cut off ({reason})."
        ) from None
    return image if image.mode == "RGB" and not image.has_transparency_data else _to_rgb(image)


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"An array of pixels must be of uint8, 0 to 255; got {pixels.dtype}. Floats in "
            f"[0, 1] convert with (255 * array).round().astype('uint8')."
        )
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(
            f"An array of pixels must be of shape (H, W), (H, W, 3) or (H, W, 4); got "
            f"{pixels.shape}."
        )
    if min(pixels.shape) == 0:
        raise ValueError(f"The array of pixels is empty, of shape {pixels.shape}.")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip at 255 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"The picture has 32 bits a pixel (mode {image.mode}), so its white is unknown; "
            f"convert it to 8 bits first."
        )
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")  # convert copies
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    rgb = image.convert("RGB")
    if image.mode not in ("RGBA", "P"):
        rgb.info.pop("icc_profile", None)  # it told what grey or CMYK look like
    return rgb


# ---------------------------------------------------------------------------------- finding


def detector_name() -> str:
    """The detector in use: MTCNN, or the cascade where facenet-pytorch is not installed."""
    return "LBP cascade (scikit-image)" if _mtcnn() is None else "MTCNN (facenet-pytorch)"


@functools.cache
def _mtcnn():
    """MTCNN with the weights that its package contains, or None where it is not installed."""
    try:
        from facenet_pytorch import MTCNN
    except ModuleNotFoundError as error:
        if error.name != "facenet_pytorch":
            raise  # installed, but something that it needs is missing: say so
        warnings.warn(
            "facenet-pytorch is not installed, so faces are found by scikit-image's cascade, "
            "which misses more of them and cannot level the eyes; "
            "pip install --no-deps facenet-pytorch==2.6.0 gets the better detector.",
            stacklevel=2,
        )
        return None
    return MTCNN(keep_all=True)


@functools.cache
def _cascade():
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def detect(image: Picture) -> list[Face]:
    """Find faces, by MTCNN (Zhang et al. 2016) or by scikit-image's cascade without it.

    Faces smaller than a sixteenth of the picture's longer side are not looked for.

    Parameters
    ----------
    image : PIL image, uint8 array, path, bytes or file
        As in `load_image`.

    Returns
    -------
    list of Face
        The largest first; empty if there is none. `left_to_right` puts them in the order in
        which people count them.
    """
    image = load_image(image)
    shrink = min(1.0, DETECTION_SIDE / max(image.size))
    sides = [max(1, round(side * shrink)) for side in image.size]
    small = image.resize(sides, reducing_gap=3)  # large photographs first by whole numbers
    least = max(20, max(small.size) // 16)
    if min(small.size) < least:
        return []
    found = _detect_cascade(small, least) if _mtcnn() is None else _detect_mtcnn(small, least)
    faces = [_scaled(face, 1 / shrink) for face in found]
    return sorted(faces, key=lambda face: face.area, reverse=True)


def _detect_mtcnn(image: Image.Image, least: int) -> list[Face]:
    mtcnn = _mtcnn()
    mtcnn.min_face_size = least
    with torch.inference_mode():
        boxes, probabilities, points = mtcnn.detect(image, landmarks=True)
    if boxes is None:
        return []
    return [
        Face(tuple(map(float, box)), float(p), tuple((float(x), float(y)) for x, y in five))
        for box, p, five in zip(boxes, probabilities, points, strict=True)
        if p >= MIN_PROBABILITY
    ]


def _detect_cascade(image: Image.Image, least: int) -> list[Face]:
    boxes = _cascade().detect_multi_scale(
        np.asarray(image), scale_factor=1.1, step_ratio=1, min_neighbor_number=8,
        min_size=(least, least), max_size=image.size,
    )  # fmt: skip
    boxes = [(b["c"], b["r"], b["c"] + b["width"], b["r"] + b["height"]) for b in boxes]
    faces = sorted((Face(tuple(map(float, box))) for box in boxes), key=lambda f: -f.area)
    kept: list[Face] = []
    for face in faces:  # one face is often found at several sizes: keep the largest
        if not any(contains(other.box, face.centre) for other in kept):
            kept.append(face)
    return kept


def contains(box: tuple[float, float, float, float], point: tuple[float, float]) -> bool:
    """Whether a point (x, y) lies in a box (left, top, right, bottom)."""
    (left, top, right, bottom), (x, y) = box, point
    return left <= x <= right and top <= y <= bottom


def _scaled(face: Face, factor: float) -> Face:
    points = face.landmarks and tuple((x * factor, y * factor) for x, y in face.landmarks)
    return Face(tuple(side * factor for side in face.box), face.probability, points)


def left_to_right(faces: Iterable[Face]) -> list[Face]:
    """Faces in the order in which `find_face` and `mmagan_lite.edit` count them, from 1."""
    return sorted(faces, key=lambda face: face.centre)


def find_face(image: Picture, face: int | None = None) -> Face:
    """The face that is meant: the only one, one much larger than the others, or the chosen one.

    Parameters
    ----------
    image : PIL image, uint8 array, path, bytes or file
        As in `load_image`.
    face : int, optional
        Which one, counted from left to right, the first being 1. Default: the largest, if it
        is at least four times as large as the next.

    Returns
    -------
    Face

    Raises
    ------
    FaceNotFoundError
        If there is no face.
    SeveralFacesError
        If there are several and none was chosen.
    ValueError
        If there is no face of that number.
    """
    faces = detect(image)
    if not faces:
        raise FaceNotFoundError(
            "No face was found in the picture; give one with a face seen from the front and at "
            "least a sixteenth as large as the picture."
        )
    if face is not None:
        return _numbered(faces, face)
    if len(faces) > 1 and faces[0].area < 4 * faces[1].area:
        raise SeveralFacesError(
            f"{len(faces)} faces were found, from left to right {_places(faces)}; choose one by "
            f"its number, such as face=1."
        )
    return faces[0]


def _numbered(faces: list[Face], number: int) -> Face:
    if not 1 <= number <= len(faces):
        raise ValueError(
            f"There is no face number {number}; found, from left to right: {_places(faces)}."
        )
    return left_to_right(faces)[number - 1]


def _places(faces: list[Face]) -> str:
    centres = (face.centre for face in left_to_right(faces))
    return ", ".join(f"{i} at x = {x:.0f}, y = {y:.0f}" for i, (x, y) in enumerate(centres, 1))


# ------------------------------------------------------------------- cropping and pasting back


def align(image: Picture, face: Face, size: int = 128) -> tuple[Image.Image, SimilarityTransform]:
    """Cut a face out: eyes level, in the middle, the face filling about 80 % of the frame.

    The scale comes from the distance of the eyes, which expressions leave alone, while a smile
    shortens the way from the eyes to the mouth by 7 %. That way only counts where a turned
    head brings the eyes together.

    Parameters
    ----------
    image : PIL image, uint8 array, path, bytes or file
        As in `load_image`.
    face : Face
        From `detect` or `find_face`; without landmarks the head is taken to be upright.
    size : int
        Side of the crop in pixels.

    Returns
    -------
    crop : PIL.Image.Image
        RGB, `size` x `size`; where the frame leaves the photograph its edge is repeated.
    transform : skimage.transform.SimilarityTransform
        From (x, y) in the photograph to (x, y) in the crop, for `paste_back`.
    """
    eyes, distance, tilt = _eyes(face)
    scale = EYE_DISTANCE * size / distance
    turn = SimilarityTransform(scale=scale, rotation=-tilt)
    shift = np.array([0.5, EYE_LINE]) * size - turn(eyes)[0]
    transform = turn + SimilarityTransform(translation=shift)  # + is "then"
    return _crop(load_image(image), transform, size), transform


def _eyes(face: Face) -> tuple[np.ndarray, float, float]:
    """The middle between the eyes, their distance as if seen from the front, and their tilt."""
    if face.landmarks is None:
        left, top, right, _ = face.box
        middle = np.array([(left + right) / 2, top + CASCADE_EYE_LINE * (right - left)])
        return middle, CASCADE_EYE_DISTANCE * (right - left), 0.0
    left_eye, right_eye, _, left_mouth, right_mouth = np.array(face.landmarks)
    middle, across = (left_eye + right_eye) / 2, right_eye - left_eye
    to_mouth = np.linalg.norm((left_mouth + right_mouth) / 2 - middle)
    distance = max(np.linalg.norm(across), 0.8 * to_mouth)
    return middle, float(distance), math.atan2(across[1], across[0])


def _window(transform: SimilarityTransform, size: int) -> tuple[int, int, int, int]:
    """The upright box in the photograph around a crop's frame: left, top, right, bottom."""
    corners = transform.inverse(size * np.array([[0, 0], [1, 0], [0, 1], [1, 1]]))
    low, high = np.floor(corners.min(0)) - 2, np.ceil(corners.max(0)) + 2
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _crop(image: Image.Image, transform: SimilarityTransform, size: int) -> Image.Image:
    window = _window(transform, size)
    patch = _cut_out(image, window)
    shrink = max(1, round(1 / transform.scale))  # averages pixels first: no aliasing
    into_patch = np.diag([1 / shrink, 1 / shrink, 1]) @ _translation(-window[0], -window[1])
    matrix = into_patch @ transform.inverse.params  # crop -> photograph -> patch
    coefficients = tuple(matrix[:2].ravel())
    return patch.reduce(shrink).transform(
        (size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
    )


def _cut_out(image: Image.Image, window: tuple[int, int, int, int]) -> Image.Image:
    """A part of an image; beyond the image its edge pixels are repeated."""
    (left, top, right, bottom), (width, height) = window, image.size
    x0, x1 = np.clip(left, 0, width - 1), np.clip(right, 1, width)
    y0, y1 = np.clip(top, 0, height - 1), np.clip(bottom, 1, height)
    inside = image.crop(tuple(map(int, (x0, y0, x1, y1))))
    missing = (y0 - top, bottom - y1), (x0 - left, right - x1), (0, 0)
    if not np.any(missing):
        return inside
    return Image.fromarray(np.pad(np.asarray(inside), missing, mode="edge"))


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def paste_back(
    photo: Picture,
    edited_crop: Image.Image,
    transform: SimilarityTransform,
) -> Image.Image:
    """Carry the edit of a crop over to its photograph.

    What is added is the *difference* that the edit made, faded out towards an oval around the
    face: so there is no seam, and what was not edited keeps the sharpness of the photograph,
    however small the crop is.

    Parameters
    ----------
    photo : PIL image, uint8 array or path
        The photograph that went into `align`.
    edited_crop : PIL.Image.Image
        The crop from `align` after editing, of the same size.
    transform : skimage.transform.SimilarityTransform
        From `align`.

    Returns
    -------
    PIL.Image.Image
        A new image of the photograph's size; outside the oval its pixels are exactly equal.

    Raises
    ------
    ValueError
        If the edited crop is not square, as all crops of `align` are.
    """
    size = edited_crop.width
    if edited_crop.height != size:
        raise ValueError(
            f"The edited crop must have the size of the one from align, which is square; got "
            f"{size} x {edited_crop.height}."
        )
    photo = load_image(photo)
    crop = np.asarray(_crop(photo, transform, size), dtype=np.float32)
    change = np.asarray(edited_crop.convert("RGB"), dtype=np.float32) - crop
    change = _enlarged(torch.from_numpy(change), transform.scale)  # (1, 3, n, n)

    result = photo.copy()
    left, top, right, bottom = _window(transform, size)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, photo.width), min(bottom, photo.height)
    for upper in range(top, bottom, STRIP):  # needs little memory, however large the face
        box = (left, upper, right, min(upper + STRIP, bottom))
        result.paste(_changed(photo.crop(box), change, _places_in(transform, box, size)), box)
    return result


def _enlarged(change: Tensor, scale: float) -> Tensor:
    """A change (size, size, 3), faded out and fine enough to be read between its pixels."""
    size = len(change)
    side = max(2, round(min(4, 2 / scale) * size))
    change = change.permute(2, 0, 1)[None]  # (1, 3, size, size)
    change = F.interpolate(change, (side, side), mode="bicubic", antialias=True)
    return change * torch.from_numpy(_fade(side))  # (1, 3, side, side)


def _places_in(transform: SimilarityTransform, box: tuple[int, int, int, int], size: int) -> Tensor:
    """Where the pixels of a box in the photograph lie in the crop, from -1 to 1: (1, H, W, 2)."""
    left, top, right, bottom = box
    across, down = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    grid = np.empty((1, len(down), len(across), 2), np.float32)
    for axis, (a, b, c) in enumerate(transform.params[:2] * 2 / size):
        grid[0, :, :, axis] = np.add.outer(b * down + c - 1, a * across)
    return torch.from_numpy(grid)


def _changed(pixels: Image.Image, change: Tensor, places: Tensor) -> Image.Image:
    """Pixels with the change added that is found at their places."""
    change = F.grid_sample(change, places, align_corners=False)[0].permute(1, 2, 0)  # (H, W, 3)
    sums = np.asarray(pixels) + change.numpy()
    return Image.fromarray(np.rint(sums, out=sums).clip(0, 255, out=sums).astype(np.uint8))


def _fade(size: int) -> np.ndarray:
    """1 on the face, falling smoothly to 0 at an oval around it: shape (size, size)."""
    from_middle = np.abs(np.linspace(-1, 1, size)) ** ROUNDNESS
    reach = np.add.outer(from_middle, from_middle / OVAL_WIDTH**ROUNDNESS) ** (1 / ROUNDNESS)
    ramp = (1 - reach) / (2 * FEATHER)  # 0 at the oval, 1 where the edit counts in full
    return ((1 - np.cos(np.pi * ramp.clip(0, 1))) / 2).astype(np.float32)
