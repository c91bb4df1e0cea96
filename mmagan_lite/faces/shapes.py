"""Soft shapes with hard limits: each is exactly zero outside its reach.

What an action unit moves therefore stays where it is, and the rest of the picture does not change
by a single bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothstep(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((x - low) / (high - low)).clamp_(0, 1)
    return (3 - 2 * t).mul_(t).mul_(t)


def bump(x: Tensor, y: Tensor, cx, cy, rx, ry) -> Tensor:
    """A smooth hill of height 1 on the ellipse around (cx, cy) with radii rx, ry."""
    away = ((x - cx) / rx).square_() + ((y - cy) / ry).square_()
    return (1 - away).clamp_(min=0).square_()


def ridge(x: Tensor, y: Tensor, ax, ay, bx, by, width) -> Tensor:
    """A smooth hill of height 1 along the segment from (ax, ay) to (bx, by), thin at its ends."""
    dx, dy = bx - ax, by - ay
    x, y = x - ax, y - ay
    t = ((x * dx + y * dy) / (dx * dx + dy * dy)).clamp_(0, 1)
    far = (x - t * dx).square_() + (y - t * dy).square_()
    inside = (1 - far / (width * width)).clamp_(min=0).square_()
    return ((1 - t).mul_(t).mul_(3).add_(0.25)).mul_(inside)


def band(distance: Tensor, edge: float | Tensor) -> Tensor:
    """Coverage of a shape by its signed distance (positive inside), with an edge that wide."""
    return smoothstep(distance, -edge / 2, edge / 2)


def over(below: Tensor, colour: Tensor, cover: Tensor) -> Tensor:
    """Lay a colour (B, 3, H|1, W|1) over an image by its coverage (B, H, W)."""
    return torch.lerp(below, colour, cover[:, None])


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
