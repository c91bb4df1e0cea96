"""What a user calls: a picture in, the same picture with another expression out."""

import functools
import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from mmagan_lite import checkpoints, detection
from mmagan_lite.baselines import networks
from mmagan_lite.config import Config
from mmagan_lite.detection import Face, Picture
from mmagan_lite.expressions import encode
from mmagan_lite.generator import Generator

DEFAULT_MODEL = "mmagan-128"
"""The generator that edits where none is given."""


def edit(
    image: Picture,
    expression: str | int,
    rho: float = 1.0,
    model: Generator | None = None,
    face: str | int | Face = "crop",
) -> Image.Image:
    """Give the face in a picture another expression.

    The generator works at the size it was trained for. Only the *difference* that it makes is
    scaled to the picture and added, so the result has the picture's own size and keeps its
    detail wherever nothing was edited.

    Parameters
    ----------
    image : PIL image, uint8 array of shape (H, W), (H, W, 3) or (H, W, 4), path, bytes or file
        As in `detection.load_image`.
    expression : str or int
        A name in `EXPRESSIONS` or its label.
    rho : float
        Strength in [0, 1]; at 0 every expression is neutral.
    model : Generator, optional
        From `load_pretrained`, `load_model` or `Trainer.model`. Default: the one that comes
        with the package.
    face : {"crop", "detect"}, int or detection.Face
        "crop": the picture is a square that a face fills. "detect": find the face in a
        photograph, and put it back edited. A number: the same with the face of that number,
        counted from left to right, the first being 1. A face from `detection.detect` on this
        photograph: the same without looking for it again.

    Returns
    -------
    PIL.Image.Image
        RGB, of the size of `image` (after its EXIF rotation).

    Raises
    ------
    FileNotFoundError, TypeError
        If the picture does not exist or is of no type listed above.
    ValueError
        If it is not readable or not square ("crop"); if no face or several are found in it
        ("detect"), fewer than the number or none at the place of the given face; if the
        expression is unknown or ρ is outside [0, 1].
    """
    z = encode(expression, rho)  # (8,)
    if z.dim() != 1:
        raise ValueError("Give one expression and one rho; call edit once for each of several.")
    return _edit(image, z[None], model, face)[0]


def sweep(
    image: Picture,
    expression: str | int,
    steps: int = 7,
    model: Generator | None = None,
    face: str | int | Face = "crop",
) -> list[Image.Image]:
    """The same picture with growing strength of an expression.

    Parameters
    ----------
    image, expression, model, face
        As for `edit`.
    steps : int
        Number of pictures, at least 2.

    Returns
    -------
    list of PIL.Image.Image
        ρ runs evenly from 0 to 1.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As for `edit`, and ValueError if steps is less than 2.
    """
    if not isinstance(steps, int) or steps < 2:
        raise ValueError(f"steps must be a whole number, 2 or more; got {steps!r}.")
    z = torch.stack([encode(expression, i / (steps - 1)) for i in range(steps)])  # (steps, 8)
    return _edit(image, z, model, face)


def _edit(
    image: Picture, z: Tensor, model: Generator | None, face: str | int | Face
) -> list[Image.Image]:
    """Edit one picture once for each code in z, (K, 8)."""
    _check_face(face)
    photo = detection.load_image(image)
    model = model or default_model()
    if face == "crop":
        changes = _changes(_square(photo), z, model)  # (K, 3, size, size)
        return [_add(photo, change) for change in changes]
    crop, transform = detection.align(photo, _found(photo, face), image_size(model))
    crops = [_add(crop, change) for change in _changes(crop, z, model)]
    return [detection.paste_back(photo, edited, transform) for edited in crops]


def _check_face(face: str | int | Face) -> None:
    number = isinstance(face, Integral) and not isinstance(face, bool)
    if not (number or isinstance(face, Face) or face in ("crop", "detect")):
        raise ValueError(
            f"face must be 'crop', 'detect', a number that counts faces from left to right (1, 2, "
            f"...) or a Face from detection.detect; got {face!r}."
        )


def _found(photo: Image.Image, face: str | int | Face) -> Face:
    if not isinstance(face, Face):
        return detection.find_face(photo, None if face == "detect" else face)
    if not detection.contains((0, 0, *photo.size), face.centre):
        raise ValueError(
            f"The face lies outside the picture of {photo.width} x {photo.height} pixels; detect "
            f"it in this picture."
        )
    return face


@torch.inference_mode()
def _changes(crop: Image.Image, z: Tensor, model: Generator) -> Tensor:
    """G(x, z) - x for each code, in units of [-1, 1] at the model's size: (K, 3, size, size)."""
    device = next(model.parameters()).device
    size = image_size(model)
    x = to_tensor([crop]).to(device)  # (1, 3, H, W)
    x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)
    x = x.expand(len(z), -1, -1, -1)  # (K, 3, size, size)
    return (model(x, z.to(device)) - x).cpu()


def _add(photo: Image.Image, change: Tensor) -> Image.Image:
    """A picture with a change (3, size, size), scaled to it, added."""
    x = to_tensor([photo])  # (1, 3, H, W)
    return to_pil(x + F.interpolate(change[None], x.shape[2:], mode="bicubic"))[0]


def _square(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    if max(width, height) > 1.1 * min(width, height):  # a little stretching does no harm
        raise ValueError(
            f"A crop of a face must be square; got {width} x {height} pixels. Crop it to the "
            f"face, or let the face be found: face='detect'."
        )
    return photo


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size as a tensor (B, 3, H, W), float32 in [-1, 1]."""
    return torch.stack([pil_to_tensor(image) for image in images]).float() / 127.5 - 1


def to_pil(images: Tensor) -> list[Image.Image]:
    """A tensor (B, 3, H, W) in [-1, 1] as pictures; values outside are clamped."""
    pixels = images.detach().cpu().clamp(-1, 1).add(1).mul(127.5).round().byte()
    return [to_pil_image(image) for image in pixels]


def image_size(model: Generator) -> int:
    """The side in pixels of the images that a generator was trained on."""
    return model.config.image_size


@functools.cache
def default_model() -> Generator:
    """The generator that edits where none is given, read once."""
    return checkpoints.load_pretrained(DEFAULT_MODEL)


def load_model(source: str | os.PathLike) -> Generator:
    """A generator to edit with: one that comes with the package, or one that you trained.

    Parameters
    ----------
    source : str or path
        A name in `pretrained_models()`, a ``checkpoint.pt``, or the folder of a run.

    Returns
    -------
    Generator
        In eval mode; of a checkpoint the averaged weights, `Trainer.model`.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is neither, or is damaged.
    """
    if str(source) in checkpoints.pretrained_models():
        return checkpoints.load_pretrained(str(source))
    path = Path(source)
    path = path / "checkpoint.pt" if path.is_dir() else path
    if not path.is_file():
        names = ", ".join(checkpoints.pretrained_models()) or "none yet"
        raise FileNotFoundError(
            f"There is no model {str(source)!r}: give the folder of a run, its checkpoint.pt, "
            f"or a name that comes with the package ({names})."
        )
    saved = checkpoints.load(path)
    generator, _ = networks(Config.from_dict(saved["config"]))
    with checkpoints.fitting(path):
        average = saved["average"].items()  # AveragedModel's: the generator is its `module`
        weights = {k.removeprefix("module."): v for k, v in average if k.startswith("module.")}
        generator.load_state_dict(weights)
    return generator.eval().requires_grad_(False)
