"""Soft shapes with hard limits: each is exactly zero outside its reach.

What an action unit moves therefore stays where it is, and the rest of the picture does not change
by a single bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothstep(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Tensor, y: Tensor, cx, cy, rx, ry) -> Tensor:
    """A smooth hill of height 1 on the ellipse around (cx, cy) with radii rx, ry."""
    inside = (1 - ((x - cx) / rx).square() - ((y - cy) / ry).square()).clamp(min=0)
    return inside * inside


def ridge(x: Tensor, y: Tensor, ax, ay, bx, by, width) -> Tensor:
    """A smooth hill of height 1 along the segment from (ax, ay) to (bx, by), thin at its ends."""
    dx, dy = bx - ax, by - ay
    t = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)
    t = t.clamp(0, 1) if isinstance(t, Tensor) else t
    far = (x - ax - t * dx).square() + (y - ay - t * dy).square()
    inside = (1 - far / (width * width)).clamp(min=0)
    return inside * inside * (4 * t * (1 - t) * 0.75 + 0.25)


def band(distance: Tensor, edge: float | Tensor) -> Tensor:
    """Coverage of a shape by its signed distance (positive inside), with an edge that wide."""
    return smoothstep(distance, -edge / 2, edge / 2)


def over(below: Tensor, colour: Tensor, cover: Tensor) -> Tensor:
    """Lay a colour (B, 3, H|1, W|1) over an image by its coverage (B, H, W)."""
    return below + (colour - below) * cover[:, None]


def sample(texture: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Read a (B, 1, h, w) texture at u, v (B, H, W), one texel a unit, mirrored at its borders."""
    h, w = texture.shape[-2:]
    grid = torch.stack([u * (2 / w), v * (2 / h)], -1)
    read = F.grid_sample(texture, grid, padding_mode="reflection", align_corners=False)
    return read[:, 0]


def slope(height: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of a height field (B, H, W) per face unit, along x and y."""
    padded = F.pad(height[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    along_x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / (2 * pixel)
    along_y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / (2 * pixel)
    return along_x, along_y


def blur(image: Tensor, reach: int) -> Tensor:
    """Mean over a square window of side 2 * reach + 1, summed in a fixed order; (B, H, W)."""
    for axis in (-1, -2):
        pad = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
        padded = F.pad(image[:, None], pad, mode="replicate")[:, 0]
        length = image.shape[axis]
        total = padded.narrow(axis, 0, length)
        for k in range(1, 2 * reach + 1):
            total = total + padded.narrow(axis, k, length)
        image = total / (2 * reach + 1)
    return image
