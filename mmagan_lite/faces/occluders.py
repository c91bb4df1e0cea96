"""Things in front of a face that hide a part of it, as in real photographs."""

import torch
from torch import Tensor

from . import geometry
from .geometry import Plane
from .identity import Nuisance, Person, few
from .materials import colour
from .shapes import band, bump, over, smoothstep


def add(image: Tensor, p: Person, n: Nuisance, plane: Plane) -> None:
    """Paint the occluders of a batch of photographs (B, 3, H, W), in place."""
    for kind, paint in enumerate((sunglasses, mask, hand), 1):
        who = (n.occluder == kind).flatten().nonzero().flatten()
        if len(who):
            image[who] = paint(image[who], few(p, who), few(n, who), few(plane, who))


def sunglasses(image: Tensor, p: Person, n: Nuisance, plane: Plane) -> Tensor:
    """Dark lenses with a soft reflection, and a bridge between them."""
    x, y = plane.fx, plane.fy
    cx, cy = p.eye_distance + 0.02, p.eye_height + 0.04
    across, down = (x.abs() - cx).abs() / 0.245, (y - cy).abs() / 0.185
    lens = 1 - (across.pow(2.8) + down.pow(2.8) + 1e-6).pow(1 / 2.8)
    bridge = 0.022 - (y - cy + 0.06).abs() - smoothstep(x.abs(), p.half_width, p.half_width + 0.05)
    tone = colour(0.05, 0.05, 0.06, like=image) + 0.10 * n.occluder_colour
    shine = smoothstep(y - cy + 0.5 * x.abs(), 0.15, -0.15) * (0.12 + 0.1 * n.occluder_turn.abs())
    return over(image, tone + shine[:, None], band(torch.maximum(lens * 0.2, bridge), 0.02))


def mask(image: Tensor, p: Person, n: Nuisance, plane: Plane) -> Tensor:
    """A surgical mask with pleats, over mouth and chin."""
    x, y = plane.fx, plane.fy
    edge = geometry.outline(p, plane.x, plane.y)
    top = 0.20 + 0.05 * n.occluder_y + 0.45 * x.square()
    cover = torch.minimum(torch.minimum(edge + 0.05, y - top), 1.12 - y)
    cloth = 0.30 * n.occluder_colour + 0.7 * colour(0.66, 0.78, 0.86, like=image)
    pleats = 1 - 0.06 * torch.cos((y - top) * 28)
    shade = pleats * (1.06 - 0.35 * x.square() + 0.10 * bump(x, y, 0, 0.45, 0.4, 0.3))
    strap = 0.014 - (y - top - 0.03 + 0.25 * (x.abs() - 0.5).clamp(min=0)).abs()
    strap = torch.minimum(torch.minimum(strap, edge + 0.02), x.abs() - 0.5)
    image = over(image, cloth, band(strap, 0.02))
    return over(image, cloth * shade[:, None], band(cover, 0.025))


def hand(image: Tensor, p: Person, n: Nuisance, plane: Plane) -> Tensor:
    """The person's own hand, fingers up, over a cheek or the chin."""
    turn = 0.5 * n.occluder_turn
    dx, dy = plane.x - 0.45 * n.occluder_x, plane.y - 0.72 - 0.15 * n.occluder_y
    x = dx * torch.cos(turn) + dy * torch.sin(turn)
    y = dy * torch.cos(turn) - dx * torch.sin(turn)
    palm = 1 - ((x / 0.34).abs().pow(3) + ((y - 0.28) / 0.34).abs().pow(3) + 1e-6).pow(1 / 3)
    shape, gaps = palm * 0.34, torch.zeros_like(x)
    for finger, length in enumerate((0.36, 0.46, 0.44, 0.30)):
        centre = -0.255 + 0.17 * finger
        past = (-length + 0.085 - y).clamp(min=0)  # beyond the middle of the finger's tip
        away = ((x - centre).square() + past.square() + 1e-6).sqrt()
        shape = torch.maximum(shape, torch.where(y < 0.2, 0.085 - away, -1.0))
        gaps += bump(x, y, centre + 0.085, -0.08, 0.03, 0.34)
    tone = (
        p.skin * (0.98 - 0.30 * gaps - 0.25 * x.abs() + 0.1 * bump(x, y, 0, 0, 0.4, 0.5))[:, None]
    )
    shadow = band(shape + 0.03, 0.12)
    return over(image * (1 - 0.35 * shadow)[:, None], tone, band(shape, 0.02))
