"""Skin, eyes, mouth and hair as colours and coverages, before light."""

import torch
from torch import Tensor

from .geometry import Brow, Eye, Mouth, Plane, Units
from .identity import Person
from .shapes import band, bump, over, sample, smoothstep


def colour(*rgb: float, like: Tensor) -> Tensor:
    """A constant colour as (1, 3, 1, 1) on the device of `like`."""
    return torch.tensor(rgb, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def skin(p: Person, plane: Plane) -> Tensor:
    """Albedo of the skin: mottling, freckles, blush, lids and the shadow of a beard."""
    x, y = plane.fx, plane.jy
    patches = sample(p.mottle, x * 9, y * 9)
    fine = sample(p.mottle, x * 38 + 7, y * 38 - 3)
    tone = p.skin * (1 + 0.03 * patches + 0.02 * fine)[:, None]
    rosy = colour(1.0, 0.80, 0.80, like=tone)
    cheeks = bump(x.abs(), plane.fy, 0.40, 0.27, 0.26, 0.24)
    nose = bump(plane.nx, plane.ny, 0, p.nose_length, 0.16, 0.14)
    redness = (0.6 * cheeks + 0.35 * nose) * (0.35 + 0.65 * p.blush)
    tone = tone * (1 + (rosy - 1) * redness[:, None])
    eye_y = plane.fy - p.eye_height
    sockets = bump(x.abs(), eye_y, p.eye_distance, -0.02, 0.23, 0.15)
    tone = tone * (1 - 0.16 * sockets)[:, None]
    spots = smoothstep(fine, 0.35, 0.8) * bump(x, plane.fy, 0, 0.2, 0.6, 0.32) * p.freckles
    return tone * (1 - 0.28 * spots)[:, None]


def beard_cover(p: Person, part: Plane, m: Mouth) -> tuple[Tensor, Tensor]:
    """Where beard and moustache grow, each (B, H, W), travelling with the jaw."""
    x, y = part.fx, part.jy
    low = 0.40 + 0.30 * (1 - (x / 0.42).square()).clamp_(0, 1)
    jaw = smoothstep(y - low, 0.0, 0.16) * smoothstep(y, 0.3, 0.5)
    lip_line = m.outer_upper - 0.03
    nose_base = p.nose_length + 0.06 + 0.9 * x.square()
    lip = smoothstep(part.fy, nose_base, nose_base + 0.09)
    lip *= smoothstep(part.fy - lip_line, 0.03, -0.01)
    lip *= smoothstep(x.abs(), p.mouth_width * 1.35, p.mouth_width * 0.75)
    sides = smoothstep(x.abs(), p.mouth_width * 0.95, p.mouth_width * 1.2)
    around = torch.maximum(sides, smoothstep(part.fy - m.outer_lower, 0.015, 0.06))
    whole = torch.maximum(jaw * around, lip)
    return p.stubble * whole, p.moustache * lip


def paint_beard(image: Tensor, p: Person, part: Plane, m: Mouth) -> Tensor:
    """Stubble, beard and moustache over skin."""
    cover, moustache = beard_cover(p, part, m)
    grain = sample(p.strands, part.fx * 75, part.jy * 60)
    dense = (0.45 + 0.4 * p.beard) * cover * (0.8 + 0.5 * grain)
    dense = torch.maximum(dense, moustache * (0.85 + 0.3 * grain)).clamp_(0, 1)
    return over(image, p.hair * 0.85, dense)


def paint_brow(image: Tensor, p: Person, part: Plane, b: Brow) -> Tensor:
    """Hairs along the brow's curve."""
    ends = smoothstep(b.t, -0.03, 0.08) * smoothstep(b.t, 1.04, 0.88)
    strands = sample(p.strands, b.t * 26 + (part.fy - b.middle) * 60, part.fy * 30)
    cover = band(b.thick - (part.fy - b.middle).abs(), 0.032) * ends
    tone = p.hair * 0.62 + p.skin * 0.06
    return over(image, tone, (cover * (0.86 + 0.22 * strands)).clamp(0, 1))


def paint_eye(image: Tensor, p: Person, e: Eye, side: str, gaze, light) -> Tensor:
    """Eyeball, iris, lids and lashes; gaze (x, y) in eye widths, light its azimuth."""
    sign = -1 if side == "L" else 1
    pixel = 0.10
    opening = torch.minimum(e.v - e.upper, e.lower - e.v)
    inside = band(opening, pixel) * band(1 - e.s.abs(), 0.15)
    iris_x, iris_y = sign * gaze[0] / 0.16, gaze[1] / 0.16 - 0.06
    away = ((e.s - iris_x).square() + (e.v - iris_y).square() + 1e-6).sqrt()
    shade = 0.62 + 0.38 * smoothstep(e.v - e.upper, 0.0, 0.3)
    corners = 1 - 0.22 * smoothstep(e.s.abs(), 0.45, 1.0)
    white = colour(0.93, 0.91, 0.90, like=image) * (shade * corners)[:, None]
    pink = colour(0.80, 0.50, 0.46, like=image)
    ball = over(white, pink, 0.7 * smoothstep(-e.s, 0.82, 1.0))
    ring = 0.42 + 0.58 * smoothstep(0.47 - away, 0.0, 0.13)
    glow = 1 + 0.3 * smoothstep(e.v - iris_y, 0.0, 0.4)
    iris = p.iris * (ring * glow * (0.55 + 0.45 * shade))[:, None]
    ball = over(ball, iris, band(0.46 - away, 0.11))
    ball = over(ball, colour(0.03, 0.03, 0.03, like=image), band(0.20 - away, 0.10))
    spark_x, spark_y = iris_x + sign * 0.16 * light.sign(), iris_y - 0.17
    spark = ((e.s - spark_x).square() + (e.v - spark_y).square() + 1e-6).sqrt()
    ball = over(ball, colour(1, 1, 1, like=image), 0.95 * band(0.10 - spark, 0.10))

    crease = (e.v - e.upper + 0.20).abs()
    across = smoothstep(1.12 - e.s.abs(), 0.0, 0.4)
    image = image * (1 - 0.30 * band(0.045 - crease, 0.12) * across)[:, None]
    image = over(image, ball, inside)
    thick = (0.055 + 0.05 * p.feminine) * (0.6 + 0.55 * smoothstep(e.s, -0.8, 1.0))
    lash_line = band(thick - (e.v - e.upper).abs(), 0.10) * band(1.06 - e.s.abs(), 0.16)
    dark = p.hair * 0.35 + 0.02
    image = over(image, dark, 0.92 * lash_line)
    rim = band(0.03 - (e.v - e.lower).abs(), 0.10) * band(0.98 - e.s.abs(), 0.25)
    return over(image, p.skin * 0.45, 0.42 * rim)


def paint_mouth(image: Tensor, part: Plane, m: Mouth, a: Units) -> Tensor:
    """Cavity, tongue, teeth and both lips (already lit: `image` holds the shaded face)."""
    y, edge = part.fy, m.s.abs().clamp(max=1)
    soft = 0.026
    within = band(1 - m.s.abs(), 0.05)
    hole = band(torch.minimum(y - m.inner_upper, m.inner_lower - y), soft) * within
    deep = colour(0.20, 0.055, 0.055, like=image)
    inner = deep * (0.65 + 0.5 * smoothstep(y - m.inner_upper, 0.0, 0.15))[:, None]
    tongue = bump(m.s, y, 0, m.inner_lower - 0.01, 0.62, 0.13) * (m.gap / 0.12).clamp(0, 1)
    inner = over(inner, colour(0.70, 0.27, 0.27, like=image), (1.5 * tongue).clamp(max=1))
    smile = 0.5 * (a["12L"] + a["12R"])
    raised = 0.5 * (a["10L"] + a["10R"])
    apart = a["25"].clamp(max=1)
    shown = (0.065 * smile + 0.045 * raised + 0.04 * a["20"] + 0.016 * a["27"]) * apart
    shown = shown + 0.045 * raised * (1 - apart)
    ivory = colour(0.95, 0.93, 0.88, like=image) * (1 - 0.45 * edge.pow(2.5))[:, None]
    upper_teeth = band(m.inner_upper + shown - y, 0.016) * (shown / 0.012).clamp(0, 1)
    inner = over(inner, ivory, upper_teeth)
    lower_shown = 0.038 * a["16"] + 0.012 * a["20"] * a["25"]
    lower_teeth = band(y - (m.inner_lower - lower_shown), 0.016) * (lower_shown / 0.012).clamp(0, 1)
    inner = over(inner, ivory * 0.9, lower_teeth)
    image = over(image, inner, hole)

    seam = 0.5 * (m.inner_upper + m.inner_lower)
    closed = (1 - m.gap / 0.03).clamp(0, 1)
    line = band(0.007 - (y - seam).abs(), 0.026) * band(1.03 - m.s.abs(), 0.06)
    image = image * (1 - 0.62 * line * closed)[:, None]
    for side in ("L", "R"):
        pit = bump(part.fx, y, m.corner_x[side], m.corner_y[side], 0.035, 0.03)
        image = image * (1 - 0.4 * pit)[:, None]
    return image


def nostrils(p: Person, part: Plane, a: Units) -> Tensor:
    """How dark the nostrils are, (B, H, W)."""
    height = p.nose_length + 0.068 - 0.03 * a["9"]
    width = 0.036 + 0.012 * a["38"]
    return 0.72 * bump(part.nx.abs(), part.ny, 0.5 * p.nose_width, height, width, 0.026)


def lip_cover(m: Mouth, y: Tensor) -> Tensor:
    """Where the red of the lips is, (B, H, W)."""
    within = band(1.0 - m.s.abs(), 0.10)
    upper = torch.minimum(y - m.outer_upper, m.inner_upper - y + 0.006)
    lower = torch.minimum(y - m.inner_lower + 0.006, m.outer_lower - y)
    return torch.maximum(band(upper, 0.024), band(lower, 0.030)) * within
