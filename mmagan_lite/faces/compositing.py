"""Light on the relief, and layers from the backdrop to the film grain."""

import torch
from torch import Tensor

from . import geometry, materials, relief
from .geometry import Plane, Units
from .identity import Nuisance, Person
from .shapes import band, blur, bump, over, sample, slope, smoothstep


def backdrop(n: Nuisance, plane: Plane) -> Tensor:
    """A soft two-coloured backdrop out of focus, (B, 3, H, W)."""
    u, v = plane.u, plane.v
    along = u * torch.cos(n.backdrop_angle) + v * torch.sin(n.backdrop_angle)
    clouds = sample(n.clouds, u * 2.2, v * 2.2)
    mix = smoothstep(along + 0.5 * clouds, -1.2, 1.2)
    vignette = 1 - 0.22 * (u.square() + v.square()) * 0.5
    return over(n.backdrop, n.backdrop_end, mix) * (vignette * (1 + 0.06 * clouds))[:, None]


def light_skin(p: Person, n: Nuisance, plane: Plane, height: Tensor, albedo: Tensor) -> Tensor:
    """Wrapped diffuse light, a weak gloss and the dark of hollows; skin shadows go red."""
    gx, gy = slope(height, plane.pixel)
    norm = (gx.square() + gy.square() + 1).rsqrt()
    lx = torch.sin(n.light_azimuth) * torch.cos(n.light_height)
    ly = -torch.sin(n.light_height)
    lz = torch.cos(n.light_azimuth) * torch.cos(n.light_height)
    facing = (-gx * lx - gy * ly + lz) * norm
    diffuse = ((facing + 0.35) / 1.35).clamp(min=0)
    hollow = ((height - blur(height, 4)) * 9.0).clamp(-0.4, 0.1)
    shade = (n.ambient + (1.16 - n.ambient) * diffuse) * (1 + hollow)
    shade = shade.clamp(min=0.05)
    warm = torch.stack([shade.pow(0.82), shade.pow(1.06), shade.pow(1.14)], 1)
    half = (facing + norm).clamp(min=0) / (2 * (1 + lz)).sqrt()
    gloss = half.pow(26) * (0.05 + 0.07 * (1 - p.skin.mean(1)))
    return albedo * warm + gloss[:, None]


def hair_shape(p: Person, plane: Plane) -> tuple[Tensor, Tensor, Tensor]:
    """Where hair is, three times (B, H, W).

    Signed distances to its outline and to the opening that the face looks through, and the
    texture of its strands.
    """
    x, y = plane.x, plane.y
    style = p.style
    curly, long, bob = (style == 6).float(), (style == 5).float(), (style == 4).float()
    cropped, bald = (style == 1).float(), (style == 0).float()
    growth = 0.085 + 0.10 * curly + 0.03 * (long + bob) - 0.04 * cropped - 0.075 * bald
    growth = growth * p.hair_volume
    angle = torch.atan2(x - p.hair_part * 0.6, y + 1.12)
    along = ((x - p.hair_part * 0.6).square() + (y + 1.12).square()).sqrt()
    flow = sample(p.strands, angle * 26, along * 5) * 0.65
    flow = flow + sample(p.strands, angle * 60 + 11, along * 9) * 0.35
    curls = sample(p.strands, x * 13, y * 13)
    strands = flow + (curls - flow) * curly

    end = 0.10 + 0.45 * bob + 2.0 * long + 0.12 * curly - 0.06 * cropped
    top = 1 - (
        (x / (p.half_width + growth)).abs().pow(2.3)
        + ((y - 0.02).clamp(max=0) / (1.02 + growth)).abs().pow(2.3)
    ).pow(1 / 2.3)
    ends = end - y + 0.05 * flow + 0.10 * curly * curls
    body = torch.minimum(top * 0.75, ends)
    body = body + (0.035 * curly + 0.006) * strands

    sides = p.half_width * (0.965 - 0.10 * (long + bob) + 0.03 * cropped - 0.07 * curly)
    sides = sides - 0.05 * p.hair_part.abs() * (long + bob)
    line = p.hairline + 0.20 * p.fringe * (long + bob) - 0.75 * bald - 0.05 * cropped
    swoop = (style == 3).float() * 0.16 * (x * p.hair_part.sign() + 0.15)
    reach = 0.30 - line - swoop
    rise = ((0.30 - y).clamp(min=0) / reach).abs()
    square = 2.6 + 0.8 * cropped
    opening = 1 - ((x.abs() / sides).pow(square) + rise.pow(square)).pow(1 / square)
    opening = opening * 0.7 + (0.03 + 0.02 * curly) * strands
    return body, opening, strands


def hair_colour(p: Person, plane: Plane, strands: Tensor) -> Tensor:
    """Strands with a broad band of shine, darker at the sides, (B, 3, H, W)."""
    shine = bump(plane.x, plane.y, -0.15, -0.74, 0.65, 0.22)
    tone = 0.82 + 0.30 * strands + 0.40 * shine * (0.6 + 0.8 * strands)
    tone = tone - 0.22 * smoothstep(plane.x.abs(), 0.45, 0.95)
    return p.hair * tone.clamp(min=0.25)[:, None] + 0.035 * shine[:, None]


def paint_behind(image: Tensor, p: Person, plane: Plane, hair: Tensor) -> Tensor:
    """Hair behind the head, neck, shoulders and ears."""
    x, y = plane.x, plane.y
    falls = ((p.style == 4) | (p.style == 5)).float()
    back = band(p.half_width * 1.08 - x.abs(), 0.05) * band((y + 0.4), 0.05)
    back = back * band(0.60 + 1.5 * (p.style == 5).float() - y, 0.08) * falls
    image = over(image, hair * 0.55, back)
    neck_width = 0.37 + 0.07 * (1 - p.feminine) + 0.10 * smoothstep(y, 0.95, 1.25)
    under_chin = 0.52 + 0.36 * smoothstep(y - 0.10 * x.square(), 0.98, 1.35)
    rounded = 1 - 0.35 * (x / neck_width).square().clamp(max=1)
    neck = p.skin * (under_chin * rounded)[:, None]
    image = over(image, neck, band(neck_width - x.abs(), 0.03) * band(y - 0.5, 0.05))
    collar = band(y - 1.13 + 0.13 * smoothstep(x.abs(), 0.30, 0.95), 0.03)
    folds = 0.85 + 0.15 * torch.sin(x * 5 + 3 * y)
    image = over(image, p.clothes * folds[:, None], collar)
    shown = (p.style < 4).float()
    for sign in (-1, 1):
        ex = sign * (p.half_width + 0.012)
        ear = ((x - ex) / 0.085).square() + ((y - 0.06) / 0.165).square()
        inner = bump(x, y, ex, 0.05, 0.055, 0.11)
        tone = p.skin * (0.80 - 0.28 * inner)[:, None]
        image = over(image, tone, band((1 - ear) * 0.05, 0.018) * shown)
    return image


def paint_glasses(image: Tensor, p: Person, plane: Plane) -> Tensor:
    """Thin rims, bridge and temples, on those who wear glasses."""
    x, y = plane.fx, plane.fy
    cx, cy = p.eye_distance + 0.012, p.eye_height + 0.02
    across, down = (x.abs() - cx).abs() / 0.205, (y - cy).abs() / 0.150
    rim = 1 - (across.pow(3.2) + down.pow(3.2) + 1e-6).pow(1 / 3.2)
    frame = band(0.012 - (rim * 0.17).abs(), 0.018)
    bridge = band(0.010 - (y - cy + 0.035 - 0.4 * x.square()).abs(), 0.018)
    bridge = bridge * band(0.10 - x.abs(), 0.02)
    temple = band(0.012 - (y - cy + 0.03).abs(), 0.018) * band(x.abs() - cx - 0.2, 0.02)
    temple = temple * band(p.half_width - x.abs(), 0.04)
    metal = p.hair * 0.25 + 0.05
    image = over(image, image * 0.9 + 0.1, 0.35 * p.glasses * band(rim, 0.1))
    return over(image, metal, 0.9 * p.glasses * torch.maximum(torch.maximum(frame, bridge), temple))


def compose(p: Person, n: Nuisance, a: Units, size: int) -> Tensor:
    """The whole picture, (B, 3, size, size), not yet rounded."""
    plane = geometry.make_plane(n, a, size, p.age.device)
    m = geometry.mouth(p, a, plane.fx)
    edge = geometry.outline(p, plane.x, plane.chin_y)

    body, opening, strands = hair_shape(p, plane)
    hair = hair_colour(p, plane, strands)
    image = paint_behind(backdrop(n, plane), p, plane, hair)

    albedo = materials.skin(p, plane)
    albedo = over(albedo, p.lips, 0.85 * materials.lip_cover(m, plane.fy))
    nostril = bump(
        plane.nx.abs(),
        plane.ny,
        0.5 * p.nose_width,
        p.nose_length + 0.068 - 0.03 * a["9"],
        0.036 + 0.012 * a["38"],
        0.026,
    )
    albedo = albedo * (1 - 0.72 * nostril)[:, None]
    shadow = smoothstep(opening, 0.13, 0.0) * (p.style > 0).float()
    albedo = albedo * (1 - 0.28 * shadow)[:, None]
    height = relief.height_field(p, plane, a, m, edge)
    face = light_skin(p, n, plane, height, albedo)

    face = materials.paint_beard(face, p, plane, m)
    face = materials.paint_mouth(face, plane, m, a)
    for side in ("L", "R"):
        eye = geometry.eye(p, a, plane.fx, plane.fy, side)
        gaze = (n.gaze_x * 0.16, n.gaze_y * 0.16)
        face = materials.paint_eye(face, p, eye, side, gaze, n.light_azimuth)
        face = materials.paint_brow(face, p, plane, geometry.brow(p, a, plane.fx, side))
    image = over(image, face, band(edge, 1.6 * plane.pixel))

    front = torch.minimum(body, -opening)
    image = over(image, hair, band(front, 0.045))
    image = paint_glasses(image, p, plane)
    tint = torch.cat([1 + n.warmth, torch.ones_like(n.warmth), 1 - n.warmth], 1)
    image = image * (n.exposure * tint)[..., None]
    grain = n.grain * n.grain_strength[:, None]
    return image + grain
