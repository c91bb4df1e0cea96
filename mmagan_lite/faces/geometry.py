"""Where things are: coordinates of the face, and the curves of brows, lids and lips.

The curves are functions of the person and the action units.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .identity import Nuisance, Person
from .shapes import bump, smoothstep

Units = dict[str, Tensor]

REGIONS = {
    "forehead": (-0.52, 0.52, -0.85, -0.20),
    "left eye": (-0.68, 0.02, -0.72, 0.20),
    "right eye": (-0.02, 0.68, -0.72, 0.20),
    "eyes": (-0.80, 0.80, -0.30, 0.30),
    "cheeks": (-0.74, 0.74, -0.48, 0.58),
    "nose": (-0.34, 0.34, -0.40, 0.62),
    "mouth": (-0.72, 0.72, 0.27, 1.50),
    "jaw": (-0.92, 0.92, 0.27, 1.60),
    "below": (-1.80, 1.80, 0.42, 1.90),
    "left ear": (-0.90, -0.60, -0.15, 0.27),
    "right ear": (0.60, 0.90, -0.15, 0.27),
}
"""Where features lie, as (left, right, top, bottom) in face units: whatever is drawn for a region
is exactly zero outside of it, for every person, pose and action unit. A feature therefore costs
no more than its region."""


@dataclass
class Plane:
    """Coordinates of every pixel, each (B, H, W), in face units."""

    u: Tensor  # the frame itself, -1 to 1
    v: Tensor
    x: Tensor  # the head at rest
    y: Tensor
    chin_y: Tensor  # the same for the face's outline, which travels with the jaw
    fx: Tensor  # features, moved by the turn of the head
    fy: Tensor
    jy: Tensor  # the same for skin that travels with the jaw
    nx: Tensor  # the nose, which stands out and so moves more
    ny: Tensor
    pixel: Tensor  # side of a pixel, (B, 1, 1)
    place: tuple = (Ellipsis,)  # which part of the picture this is
    places: dict[str, tuple] = field(default_factory=dict)  # where the regions are in it

    def part(self, region: str) -> "Plane":
        """The coordinates of one region only, for all faces of the batch."""
        place = self.places[region]
        names = ("u", "v", "x", "y", "chin_y", "fx", "fy", "jy", "nx", "ny")
        parts = {name: getattr(self, name)[place].contiguous() for name in names}
        return Plane(**parts, pixel=self.pixel, place=place)

    def of(self, image: Tensor) -> Tensor:
        """A copy of this part of a picture."""
        return image[self.place].contiguous()


def jaw_drop(a: Units) -> Tensor:
    """How far the chin sinks, (B, 1, 1)."""
    return 0.07 * a["26"] + 0.15 * a["27"] + 0.01 * a["25"] - 0.015 * a["17"]


def make_plane(n: Nuisance, size: int) -> Plane:
    """Coordinates for a batch of poses, the jaws at rest."""
    middles = (torch.arange(size, device=n.scale.device) + 0.5) * (2 / size) - 1
    v, u = torch.meshgrid(middles, middles, indexing="ij")
    u, v = u[None] + n.shift_x * 0, v[None] + n.shift_x * 0  # (B, H, W)
    across, down = (u - n.shift_x) / n.scale, (v - n.shift_y) / n.scale
    cos, sin = torch.cos(n.roll), torch.sin(n.roll)
    x, y = across * cos + down * sin, down * cos - across * sin
    depth = (1 - (x / 0.8).square_() - (y / 1.15).square_()).clamp_(min=0)
    fx, fy = x - n.yaw * depth, y - n.pitch * depth
    stick_out = bump(fx, fy, 0, 0.30, 0.30, 0.42)
    nx, ny = fx - 0.4 * n.yaw * stick_out, fy - 0.3 * n.pitch * stick_out
    pixel, places = 2 / (size * n.scale), find_regions(n, size)
    return Plane(u, v, x, y, y, fx, fy, fy, nx, ny, pixel, places=places)


def lower_jaw(plane: Plane, a: Units) -> Plane:
    """The plane with the jaws where the action units pull them."""
    drop = jaw_drop(a)
    sink = smoothstep(plane.fy, 0.44, 1.0) * smoothstep(0.95 - plane.fx.abs(), 0.0, 0.25)
    fall = smoothstep(plane.y, 0.40, 1.0) * smoothstep(0.95 - plane.x.abs(), 0.0, 0.25)
    return replace(plane, jy=plane.fy - drop * sink, chin_y=plane.y - drop * fall)


def find_regions(n: Nuisance, size: int) -> dict[str, tuple]:
    """The pixels that the regions take up, as indices of rows and columns.

    They cover all faces of a batch.
    """
    boxes = torch.tensor(list(REGIONS.values()), device=n.scale.device)  # (R, 4)
    left, right, top, bottom = boxes.T[:, None]  # each (1, R)
    yaw, pitch = 1.4 * n.yaw[..., 0], 1.4 * n.pitch[..., 0]  # (B, 1): the nose moves most
    left, right = left + yaw.clamp(max=0), right + yaw.clamp(min=0)
    top, bottom = top + pitch.clamp(max=0), bottom + pitch.clamp(min=0)
    x, y = torch.stack([left, right] * 2, -1), torch.stack([top, top, bottom, bottom], -1)
    cos, sin = torch.cos(n.roll), torch.sin(n.roll)  # corners x, y: (B, R, 4)
    u = n.shift_x + n.scale * (x * cos - y * sin)
    v = n.shift_y + n.scale * (x * sin + y * cos)
    ends = torch.stack([v.amin((0, 2)), v.amax((0, 2)), u.amin((0, 2)), u.amax((0, 2))], -1)
    pixels = ((ends + 1) * (size / 2)).tolist()

    def whole(low: float, high: float) -> slice:
        start = min(max(math.floor(low) - 1, 0), size - 1)  # a pixel more, for rounding
        return slice(start, min(max(math.ceil(high) + 1, start + 1), size))

    return {
        name: (..., whole(v0, v1), whole(u0, u1))
        for name, (v0, v1, u0, u1) in zip(REGIONS, pixels, strict=True)
    }


def outline(p: Person, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the face's outline, roughly in face units; positive inside."""
    level = 0.02  # the widest place, at the cheek bones
    upper, lower = ((level - y) / (1 + level)).clamp(min=0), ((y - level) / (1 - level))
    lower = lower.clamp(min=0)
    width = p.half_width * (1 - p.jaw_taper * lower * lower)
    across = x.abs() / width
    power = torch.where(y < level, 2.35 + 0 * p.jaw_square, p.jaw_square)
    radius = (across.pow(power) + (upper + lower).pow(power)).pow(1 / power)
    return (1 - radius) * (0.72 + 0.15 * (upper + lower))


@dataclass
class Brow:
    """One eyebrow as a parabola over t in [0, 1] from its inner to its outer end."""

    t: Tensor
    middle: Tensor
    thick: Tensor


def brow(p: Person, a: Units, x: Tensor, side: str) -> Brow:
    """The brow on a side, "L" or "R" of the image, for pixels at x."""
    sign = -1 if side == "L" else 1
    outer_lift = a["2" + side]
    knit = a["4"]
    inner_x = 0.115 - 0.035 * knit
    t = (sign * x - inner_x) / (0.375)
    base = p.eye_height - p.brow_height
    inner = base + 0.012 - 0.085 * a["1"] + 0.075 * knit + 0.055 * a["9"] - 0.02 * outer_lift
    middle = base - p.brow_arch - 0.045 * a["1"] - 0.085 * outer_lift + 0.05 * knit
    middle = middle + 0.03 * a["9"] + 0.02 * a["7"]
    outer = base + 0.035 - 0.075 * outer_lift + 0.018 * a["1"] + 0.004 * knit
    curve = inner * (1 - t) * (1 - 2 * t) + 4 * middle * t * (1 - t) + outer * t * (2 * t - 1)
    thick = p.brow_thick * (1 - 0.62 * smoothstep(t, 0.35, 1.05))
    thick = thick * (0.75 + 0.25 * (4 * t).clamp(0, 1))
    return Brow(t, curve, thick)


@dataclass
class Eye:
    """One eye: local coordinates in half eye widths (s grows outwards) and its lids."""

    s: Tensor
    v: Tensor
    upper: Tensor  # v of the upper lid's edge at s
    lower: Tensor


def eye(p: Person, a: Units, x: Tensor, y: Tensor, side: str) -> Eye:
    """The eye on a side, "L" or "R" of the image."""
    sign = -1 if side == "L" else 1
    s = (sign * x - p.eye_distance) / p.eye_width
    v = (y - p.eye_height) / p.eye_width + p.eye_tilt * s
    wide, droop, squint, cheek = a["5"], a["43"], a["7"], a["6"]
    upper = 0.50 * p.eye_open + 0.34 * wide - 0.44 * droop - 0.12 * squint - 0.13 * cheek
    upper = upper - 0.16 * a["9"]
    lower = 0.30 * p.eye_open + 0.06 * wide - 0.15 * squint - 0.17 * cheek - 0.05 * a["9"]
    upper, lower = upper.clamp(min=0.06), lower.clamp(min=0.04)
    arch = (1 - (s + 0.06).square().clamp(max=1.0)).clamp(min=0).sqrt()
    bow = (1 - (s - 0.08).square().clamp(max=1.0)).clamp(min=0)
    return Eye(s, v, -upper * arch.pow(0.9), lower * bow)


@dataclass
class Mouth:
    """The lips as four curves over s in [-1, 1], corner to corner."""

    s: Tensor
    outer_upper: Tensor
    inner_upper: Tensor
    inner_lower: Tensor
    outer_lower: Tensor
    gap: Tensor  # greatest opening, (B, 1, 1)
    corner_x: dict[str, Tensor]
    corner_y: dict[str, Tensor]


def mouth(p: Person, a: Units, x: Tensor) -> Mouth:
    """The mouth's curves for pixels at x."""
    corner_x, corner_y, pull = {}, {}, {}
    for side, sign in (("L", -1), ("R", 1)):
        smile, dimple = a["12" + side], a["14" + side]
        width = p.mouth_width * (
            1 + 0.27 * smile + 0.12 * dimple + 0.24 * a["20"] - 0.10 * a["23"] - 0.20 * a["27"]
            - 0.03 * a["15"]
        )  # fmt: skip
        corner_x[side] = sign * width
        pull[side] = (
            -0.115 * smile - 0.03 * dimple + 0.085 * a["15"] + 0.025 * a["20"] + 0.06 * a["27"]
        )
        corner_y[side] = p.mouth_height - p.mouth_rest + pull[side] - 0.02 * a["17"]
    s = torch.where(x < 0, -x / corner_x["L"], x / corner_x["R"])  # (B, H, W)
    edge = s.abs().clamp(max=1)
    side_pull = torch.where(x < 0, pull["L"], pull["R"])
    raise_upper = a["10L"] + (a["10R"] - a["10L"]) * smoothstep(s, -0.6, 0.6)
    both_raise = 0.5 * (a["10L"] + a["10R"])
    smile = 0.5 * (a["12L"] + a["12R"])
    middle = p.mouth_height - 0.018 * a["17"] - 0.012 * a["24"] + 0.02 * smile
    line = middle + (side_pull - p.mouth_rest - 0.02 * smile) * edge.pow(1.8)

    part, press = a["25"], (0.55 * a["24"] + 0.25 * a["23"]).clamp(max=0.75)
    up = part * (0.012 + 0.03 * smile + 0.03 * a["20"]) + 0.05 * both_raise * (0.3 + 0.7 * part)
    up = up + 0.035 * a["27"]
    down = part * (0.012 + 0.055 * smile + 0.03 * a["20"] + 0.04 * a["16"]) + 0.075 * a["26"] * part
    down = down + 0.23 * a["27"] + 0.02 * a["16"]
    shape = (1 - edge * edge).pow(0.75)
    wide_open = (1 - edge.pow(3.0)).clamp(min=0).pow(0.8)
    round_ = (down / 0.12).clamp(0, 1)
    inner_upper = line - up * shape - 0.012 * raise_upper * (1 - edge)
    inner_lower = line + down * (shape * (1 - 0.4 * round_) + wide_open * 0.4 * round_)

    full = p.lip_full * (1 - press)
    stretch = 1 - 0.22 * smile - 0.18 * a["20"] - 0.1 * a["27"]
    dip = 1 - 0.22 * (1 - (s / 0.22).square()).clamp(min=0) + 0.05 * (1 - edge)
    upper_lip = 0.044 * full * stretch * (1 - edge.pow(1.7)) * dip
    lower_lip = 0.058 * full * stretch * (1 + 0.25 * a["17"]) * (1 - edge.pow(2.2))
    outer_upper = inner_upper - upper_lip - 0.022 * raise_upper * (1 - edge.pow(2))
    return Mouth(
        s, outer_upper, inner_upper, inner_lower, inner_lower + lower_lip, up + down,
        corner_x, corner_y,
    )  # fmt: skip
