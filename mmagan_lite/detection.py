"""Find a face in a photograph, cut it out upright, and put an edited one back without a seam."""

import functools
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from skimage.transform import SimilarityTransform

MIN_PROBABILITY = 0.9  # MTCNN's own threshold of 0.7 also lets collars and ears through
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")  # "JPEG" opens MPO, too
"""What pictures may be, whatever they are called; for others Pillow may start Ghostscript."""

DETECTION_SIDE = 640  # larger photographs are shrunk to this for finding, not for cropping

# Where the eyes lie in an aligned crop, as shares of its side: the face, from hairline to chin
# some 2.9 eye distances high, then fills 80 % of the frame.
EYE_LINE = 0.43
EYE_DISTANCE = 0.275

# Where the eyes lie in a box of the cascade, as shares of its width (medians over portraits).
CASCADE_EYE_LINE = 0.4
CASCADE_EYE_DISTANCE = 0.385

FEATHER = 0.1  # share of the crop's side over which an edit fades out


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


def load_image(source: Image.Image | np.ndarray | str | Path) -> Image.Image:
    """Any usual picture as an upright RGB image.

    EXIF rotation is applied; grey, palette, CMYK and 16-bit grey become RGB; what is transparent
    becomes white.

    Parameters
    ----------
    source : PIL image, uint8 array of shape (H, W), (H, W, 3) or (H, W, 4), or path

    Returns
    -------
    PIL.Image.Image
        Mode RGB, at least 16 x 16 pixels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` is of another type, or an array not of uint8.
    ValueError
        If the file is no readable picture, or the picture has a wrong shape or size.
    """
    if isinstance(source, str | Path):
        image = _open(Path(source))
    elif isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Image.Image):
        image = ImageOps.exif_transpose(source)
    else:
        raise TypeError(
            f"Expected a PIL image, a uint8 array or a path; got {type(source).__name__}."
        )
    if min(image.size) < 16:
        raise ValueError(
            f"The picture is only {image.width} x {image.height} pixels; give one of at least "
            f"16 x 16."
        )
    return _to_rgb(image)


def _open(path: Path) -> Image.Image:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return ImageOps.exif_transpose(image)
    except Exception as error:  # a broken file makes Pillow raise almost anything
        raise ValueError(f"{path} is not a readable picture ({error}).") from None


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
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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


def detect(image: Image.Image | np.ndarray | str | Path) -> list[Face]:
    """Find faces, by MTCNN (Zhang et al. 2016) or by scikit-image's cascade without it.

    Faces smaller than a sixteenth of the picture's longer side are not looked for.

    Parameters
    ----------
    image : PIL image, uint8 array or path
        As in `load_image`.

    Returns
    -------
    list of Face
        The largest first; empty if there is none.
    """
    image = load_image(image)
    shrink = min(1.0, DETECTION_SIDE / max(image.size))
    small = image.resize([max(1, round(side * shrink)) for side in image.size])
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


def find_face(image: Image.Image | np.ndarray | str | Path, which: int | None = None) -> Face:
    """The face that is meant: the only one, one much larger than the others, or the chosen one.

    Parameters
    ----------
    image : PIL image, uint8 array or path
        As in `load_image`.
    which : int, optional
        Index into the faces from the largest to the smallest, 0 the largest. Default: the
        largest, if it is at least four times as large as the next.

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
        If there is no face number `which`.
    """
    faces = detect(image)
    if not faces:
        raise FaceNotFoundError(
            "No face was found in the picture; give one with a face seen from the front and at "
            "least a sixteenth as large as the picture."
        )
    if which is None:
        if len(faces) > 1 and faces[0].area < 4 * faces[1].area:
            raise SeveralFacesError(
                f"{len(faces)} faces were found ({_places(faces)}); choose one with which=."
            )
        return faces[0]
    if not 0 <= which < len(faces):
        raise ValueError(f"There is no face number {which}; found: {_places(faces)}.")
    return faces[which]


def _places(faces: list[Face]) -> str:
    centres = (face.centre for face in faces)
    return ", ".join(f"{i} at x = {x:.0f}, y = {y:.0f}" for i, (x, y) in enumerate(centres))


# ------------------------------------------------------------------- cropping and pasting back


def align(
    image: Image.Image | np.ndarray | str | Path, face: Face, size: int = 128
) -> tuple[Image.Image, SimilarityTransform]:
    """Cut a face out: eyes level, in the middle, the face filling about 80 % of the frame.

    The scale comes from the distance of the eyes, which expressions leave alone, while a smile
    shortens the way from the eyes to the mouth by 7 %. That way only counts where a turned
    head brings the eyes together.

    Parameters
    ----------
    image : PIL image, uint8 array or path
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
    left, top, right, bottom = _window(transform, size)
    columns = np.arange(left, right).clip(0, image.width - 1)  # repeats the edge pixels
    rows = np.arange(top, bottom).clip(0, image.height - 1)
    patch = Image.fromarray(np.asarray(image)[rows[:, None], columns])
    shrink = max(1, round(1 / transform.scale))  # averages pixels first: no aliasing
    into_patch = np.diag([1 / shrink, 1 / shrink, 1]) @ _translation(-left, -top)
    matrix = into_patch @ transform.inverse.params  # crop -> photograph -> patch
    return _resample(patch.reduce(shrink), matrix, (size, size))


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def _resample(image: Image.Image, matrix: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Resample, `matrix` (3, 3) leading from (x, y) in the result to (x, y) in the image."""
    coefficients = tuple(matrix[:2].ravel())
    return image.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)


def paste_back(
    photo: Image.Image | np.ndarray | str | Path,
    edited_crop: Image.Image,
    transform: SimilarityTransform,
) -> Image.Image:
    """Carry the edit of a crop over to its photograph.

    What is added is the *difference* that the edit made, faded out towards the frame: so there
    is no seam, and what was not edited keeps the sharpness of the photograph, however small the
    crop is.

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
        A new image of the photograph's size; outside the frame its pixels are exactly equal.

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
    change *= _fade(size)[:, :, None]

    left, top, right, bottom = _window(transform, size)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, photo.width), min(bottom, photo.height)
    matrix = transform.params @ _translation(left, top)  # window -> photograph -> crop
    window = (right - left, bottom - top)
    channels = [_resample(Image.fromarray(c), matrix, window) for c in np.moveaxis(change, 2, 0)]

    pixels = np.array(photo)
    inside = pixels[top:bottom, left:right]
    inside[:] = (inside + np.stack(channels, 2)).round().clip(0, 255)
    return Image.fromarray(pixels)


def _fade(size: int) -> np.ndarray:
    """1 in the middle, falling smoothly to 0 at the frame: shape (size, size)."""
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / (FEATHER * size)
    ramp = (1 - np.cos(np.pi * from_edge.clip(0, 1))) / 2
    return np.outer(ramp, ramp).astype(np.float32)
