"""Small pictures that panels are made of, and how they are put together where there is no page."""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from mmagan_lite import editing, faces

TILE, THUMBNAIL, GAP, CAPTION = 256, 122, 10, 22  # pixels
RANGE = 64  # 8-bit levels at which the picture of a difference is fully red or blue
HEAT = matplotlib.colormaps["inferno"]
BLUE = (0, 114, 178)


def drawn(
    person: int, expression: str | Mapping[str, float], rho: Sequence[float], size: int
) -> list[Image.Image]:
    """A person's faces at some strengths."""
    rho = torch.as_tensor(rho)
    return editing.to_pil(2 * faces.render(person, expression, rho, size=size) - 1)


def levels(image: Image.Image) -> np.ndarray:
    """Pixels as numbers: (H, W, 3), 0 to 255."""
    return np.asarray(image, dtype=np.float32)


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """Where two pictures differ: (H, W), bool."""
    return (levels(before) != levels(after)).any(-1)


def difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """White where nothing changed, red where it became brighter, blue where darker."""
    change = (levels(after) - levels(before)).mean(-1, keepdims=True) / RANGE  # (H, W, 1)
    red, blue = np.clip([change, -change], 0, 1)
    colours = 1 - np.concatenate([blue, red + blue, red], -1)  # (H, W, 3)
    return Image.fromarray((colours.clip(0, 1) * 255).round().astype(np.uint8))


def heat(weights: Tensor, face: Image.Image) -> Image.Image:
    """A map (h, w) over a face: dark where it is lowest, bright where it is highest."""
    low, high = weights.min(), weights.max()
    share = (weights - low) / (high - low).clamp_min(1e-12)
    side = (face.height, face.width)
    share = F.interpolate(share[None, None], side, mode="bilinear")[0, 0]  # (H, W)
    grey = levels(face.convert("L"))[..., None]
    colours = 0.65 * 255 * HEAT(share.numpy())[..., :3] + 0.35 * grey
    return Image.fromarray(colours.round().astype(np.uint8))


def marked(mask: np.ndarray, face: Image.Image) -> Image.Image:
    """A face in grey, with the pixels of a mask (H, W) in colour."""
    grey = levels(face.convert("L").convert("RGB"))
    colours = np.where(mask[..., None], 0.5 * grey + 0.5 * np.array([255, 160, 0]), 0.6 * grey)
    return Image.fromarray(colours.round().astype(np.uint8))


def bars(values: Sequence[float], width: int = 1024, height: int = 96) -> Image.Image:
    """Weights between 0 and 1 as bars, with a line at one half."""
    picture = Image.new("RGB", (width, height), "white")
    draw, pitch = ImageDraw.Draw(picture), width / len(values)
    for number, value in enumerate(values):
        left, right = number * pitch + 1, (number + 1) * pitch - 1
        draw.rectangle((left, height - 1 - value * (height - 2), right, height), BLUE)
    draw.line((0, height // 2, width, height // 2), (120, 120, 120))
    return picture


def row(pictures: Sequence[tuple[str, Image.Image]], side: int) -> Image.Image:
    """Pictures side by side, scaled to a height, each below its caption."""
    widths = [round(side * picture.width / picture.height) for _, picture in pictures]
    strip = Image.new("RGB", (sum(widths) + GAP * (len(widths) - 1), side + CAPTION), "white")
    draw, left = ImageDraw.Draw(strip), 0
    for (caption, picture), width in zip(pictures, widths, strict=True):
        draw.text((left, 2), caption, "black", font())
        strip.paste(picture.resize((width, side), Image.Resampling.BICUBIC), (left, CAPTION))
        left += width + GAP
    return strip


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows below each other, with a margin that keeps them readable on a dark page."""
    width = max(row.width for row in rows) + 2 * GAP
    picture = Image.new("RGB", (width, sum(row.height + GAP for row in rows) + GAP), "white")
    top = GAP
    for strip in rows:
        picture.paste(strip, (GAP, top))
        top += strip.height + GAP
    return picture


@functools.cache
def font() -> ImageFont.FreeTypeFont:
    """A font that has ρ, from Matplotlib's files; Pillow's own has no Greek."""
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 13
    )


def png(image: Image.Image, **options: Any) -> bytes:
    """A picture as the bytes of a PNG file."""
    return _encoded(image, "PNG", **options)


def data_uri(image: Image.Image) -> str:
    """A picture as text that a page can show: WebP, a fifth of the size of PNG."""
    data = base64.b64encode(_encoded(image, "WEBP", quality=90, method=4)).decode()
    return f"data:image/webp;base64,{data}"


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
