"""Light on the relief, and layers from the backdrop to the film grain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import geometry, materials, occluders, relief
from .geometry import Plane, Units
from .identity import Nuisance, Person, few
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
    diffuse = ((facing + 0.35) / 1.35).clamp_(min=0)
    hollow = ((height - blur(height, 4)) * 9.0).clamp_(-0.4, 0.1)
    shade = (n.ambient + (1.16 - n.ambient) * diffuse).mul_(1 + hollow).clamp_(min=0.05)
    warm = torch.stack([shade.pow(0.82), shade.pow(1.06), shade.pow(1.14)], 1)
    half = (facing + norm).clamp(min=0) / (2 * (1 + lz)).sqrt()
    gloss = power_26(half) * (0.05 + 0.07 * (1 - p.skin.mean(1)))
    return warm.mul_(albedo).add_(gloss[:, None])


def power_26(x: Tensor) -> Tensor:
    """Take x to the 26th power by squaring: a fifth of the time of `pow`."""
    x2 = x * x
    x8 = x2.square().square_()
    return x8.square().mul_(x8).mul_(x2)


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
    strands, curls = flow, torch.zeros_like(flow)
    who = curly.flatten().nonzero().flatten()
    if len(who):
        strands = flow.clone()
        strands[who] = curls[who] = sample(p.strands[who], x[who] * 13, y[who] * 13)

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


def paint_behind(image: Tensor, p: Person, plane: Plane, hair: Tensor) -> None:
    """Hair behind the head, neck, shoulders and ears, in place."""
    who = ((p.style == 4) | (p.style == 5)).flatten().nonzero().flatten()
    if len(who):
        image[who] = paint_long_hair(image[who], few(p, who), few(plane, who), hair[who])
    part = plane.part("below")
    image[part.place] = paint_body(part.of(image), p, part)
    for region, sign in (("left ear", -1), ("right ear", 1)):
        part = plane.part(region)
        image[part.place] = paint_ear(part.of(image), p, part, sign)


def paint_long_hair(image: Tensor, p: Person, plane: Plane, hair: Tensor) -> Tensor:
    """The hair of a bob or longer, behind the neck."""
    back = band(p.half_width * 1.08 - plane.x.abs(), 0.05) * band(plane.y + 0.4, 0.05)
    back *= band(0.60 + 1.5 * (p.style == 5).float() - plane.y, 0.08)
    return over(image, hair * 0.55, back)


def paint_body(image: Tensor, p: Person, part: Plane) -> Tensor:
    """Neck and collar."""
    x, y = part.x, part.y
    neck_width = 0.37 + 0.07 * (1 - p.feminine) + 0.10 * smoothstep(y, 0.95, 1.25)
    under_chin = 0.52 + 0.36 * smoothstep(y - 0.10 * x.square(), 0.98, 1.35)
    rounded = 1 - 0.35 * (x / neck_width).square_().clamp_(max=1)
    neck = p.skin * (under_chin * rounded)[:, None]
    image = over(image, neck, band(neck_width - x.abs(), 0.03) * band(y - 0.5, 0.05))
    collar = band(y - 1.13 + 0.13 * smoothstep(x.abs(), 0.30, 0.95), 0.03)
    folds = 0.85 + 0.15 * torch.sin(x * 5 + 3 * y)
    return over(image, p.clothes * folds[:, None], collar)


def paint_ear(image: Tensor, p: Person, part: Plane, sign: int) -> Tensor:
    """One ear, where hair does not cover it."""
    x, y, ex = part.x, part.y, sign * (p.half_width + 0.012)
    ear = ((x - ex) / 0.085).square_() + ((y - 0.06) / 0.165).square_()
    inner = bump(x, y, ex, 0.05, 0.055, 0.11)
    tone = p.skin * (0.80 - 0.28 * inner)[:, None]
    return over(image, tone, band((1 - ear) * 0.05, 0.018) * (p.style < 4))


def paint_glasses(image: Tensor, p: Person, part: Plane) -> Tensor:
    """Thin rims, bridge and temples."""
    x, y = part.fx, part.fy
    cx, cy = p.eye_distance + 0.012, p.eye_height + 0.02
    across, down = (x.abs() - cx).abs() / 0.205, (y - cy).abs() / 0.150
    rim = 1 - (across.pow(3.2) + down.pow(3.2) + 1e-6).pow(1 / 3.2)
    frame = band(0.012 - (rim * 0.17).abs(), 0.018)
    bridge = band(0.010 - (y - cy + 0.035 - 0.4 * x.square()).abs(), 0.018)
    bridge *= band(0.10 - x.abs(), 0.02)
    temple = band(0.012 - (y - cy + 0.03).abs(), 0.018) * band(x.abs() - cx - 0.2, 0.02)
    temple *= band(p.half_width - x.abs(), 0.04)
    metal = p.hair * 0.25 + 0.05
    image = over(image, image * 0.9 + 0.1, 0.35 * band(rim, 0.1))
    return over(image, metal, 0.9 * torch.maximum(torch.maximum(frame, bridge), temple))


@dataclass
class Scene:
    """What does not depend on the expression: all that is behind the face, and the hair."""

    image: Tensor  # (B, 3, H, W)
    hair: Tensor
    front: Tensor  # signed distance to the hair in front of the face, (B, H, W)
    shadow: Tensor  # of that hair on the forehead


def make_scene(p: Person, n: Nuisance, plane: Plane) -> Scene:
    """Draw the scene for a batch of people in their photographs."""
    body, opening, strands = hair_shape(p, plane)
    hair = hair_colour(p, plane, strands)
    image = backdrop(n, plane)
    paint_behind(image, p, plane, hair)
    shadow = 1 - 0.28 * smoothstep(opening, 0.13, 0.0) * (p.style > 0)
    return Scene(image, hair, torch.minimum(body, -opening), shadow)


def draw_face(
    p: Person, n: Nuisance, a: Units, plane: Plane, shadow: Tensor
) -> tuple[Tensor, Tensor]:
    """The face up to its outline (B, 3, H, W), and its coverage (B, H, W)."""
    part = plane.part("mouth")
    m = geometry.mouth(p, a, part.fx)
    albedo = materials.skin(p, plane) * shadow[:, None]
    lips = 0.85 * materials.lip_cover(m, part.fy)
    albedo[part.place] = over(part.of(albedo), p.lips, lips)
    nose = plane.part("nose")
    albedo[nose.place] *= (1 - materials.nostrils(p, nose, a))[:, None]
    edge = geometry.outline(p, plane.x, plane.chin_y)
    height = relief.height_field(p, plane, a, m, edge)
    face = light_skin(p, n, plane, height, albedo)

    add_beards(face, p, a, plane)
    face[part.place] = materials.paint_mouth(part.of(face), part, m, a)
    for side, region in (("L", "left eye"), ("R", "right eye")):
        part = plane.part(region)
        eye = geometry.eye(p, a, part.fx, part.fy, side)
        gaze = (n.gaze_x * 0.16, n.gaze_y * 0.16)
        image = materials.paint_eye(part.of(face), p, eye, side, gaze, n.light_azimuth)
        brow = geometry.brow(p, a, part.fx, side)
        face[part.place] = materials.paint_brow(image, p, part, brow)
    return face, band(edge, 1.6 * plane.pixel)


def add_beards(face: Tensor, p: Person, a: Units, plane: Plane) -> None:
    """Paint the beards of those who have one, in place."""
    who = ((p.stubble > 0) | (p.moustache > 0)).flatten().nonzero().flatten()
    if len(who):
        p, a = few(p, who), {unit: strength[who] for unit, strength in a.items()}
        part, image = few(plane, who).part("jaw"), face[who]
        m = geometry.mouth(p, a, part.fx)
        image[part.place] = materials.paint_beard(part.of(image), p, part, m)
        face[who] = image


def add_glasses(image: Tensor, p: Person, plane: Plane) -> None:
    """Put glasses on those who wear them, in place."""
    who = p.glasses.flatten().nonzero().flatten()
    if len(who):
        p, part, picture = few(p, who), few(plane, who).part("eyes"), image[who]
        picture[part.place] = paint_glasses(part.of(picture), p, part)
        image[who] = picture


def compose(p: Person, n: Nuisance, a: Units, plane: Plane, scene: Scene) -> Tensor:
    """The whole picture, (B, 3, H, W), not yet rounded."""
    face, cover = draw_face(p, n, a, plane, scene.shadow)
    image = over(scene.image, face, cover)
    image = over(image, scene.hair, band(scene.front, 0.045))
    add_glasses(image, p, plane)
    occluders.add(image, p, n, plane)
    tint = torch.cat([1 + n.warmth, torch.ones_like(n.warmth), 1 - n.warmth], 1)
    image *= (n.exposure * tint)[..., None]
    return image.add_(n.grain * n.grain_strength[:, None])
