"""The face as a height field: hills and grooves that action units move, before any light."""

import torch
from torch import Tensor

from .geometry import Mouth, Plane, Units
from .identity import Person
from .shapes import bump, ridge

SIDES = (("L", -1), ("R", 1))


def skull(plane: Plane, edge: Tensor) -> Tensor:
    """Head without features; `edge` is the signed distance to the outline."""
    inside = (edge / 0.72).clamp(0, 1)
    round_ = (inside * (2 - inside)).clamp(min=1e-4).sqrt()
    return 0.42 * round_ + 0.07 * bump(plane.fx, plane.fy, 0, -0.45, 0.75, 0.5)


def bones(p: Person, plane: Plane, a: Units) -> Tensor:
    """Brow ridge, sockets, cheek bones, nose and chin: what a person has at rest."""
    x, y, nx, ny = plane.fx, plane.fy, plane.nx, plane.ny
    eye_y = p.eye_height
    height = 0.035 * (1.2 - 0.5 * p.feminine) * bump(x, y, 0, eye_y - 0.2, 0.62, 0.15)
    lift = 0.05 * a["6"] + 0.02 * a["9"]
    for side, sign in SIDES:
        smile = a["12" + side]
        height = height - 0.075 * bump(x, y, sign * p.eye_distance, eye_y + 0.005, 0.24, 0.17)
        height = height + 0.030 * bump(x, y, sign * p.eye_distance, eye_y, 0.17, 0.11)
        cheek_y = 0.26 - lift - 0.03 * smile
        apple = 0.032 * p.cheeks + 0.024 * smile + 0.018 * a["6"]
        height = height + apple * bump(x, y, sign * 0.38, cheek_y, 0.30, 0.27)

    tip = p.nose_length
    wing = p.nose_width * (1 + 0.14 * a["38"] + 0.12 * a["9"])
    wing_y = tip + 0.035 - 0.035 * a["9"] - 0.012 * (a["10L"] + a["10R"]) / 2
    tip_y = tip - 0.012 * a["9"] - 0.004 * (a["12L"] + a["12R"])
    bridge = bump(nx, ny, 0, eye_y + 0.12, 0.16, 0.36) * 0.043
    bridge = bridge + bump(nx, ny, 0, tip_y - 0.10, 0.12, 0.22) * 0.045
    ball = bump(nx, ny, 0, tip_y, 0.115, 0.10) * 0.07
    wings = sum(bump(nx, ny, sign * wing * 0.78, wing_y, 0.075, 0.072) for _, sign in SIDES)
    height = height + p.nose_relief * (bridge + ball + 0.04 * wings)
    chin = 0.035 * p.chin * bump(x, plane.jy, 0, 0.87, 0.24, 0.16)
    return height + chin


def lips(p: Person, plane: Plane, m: Mouth) -> Tensor:
    """The rounding of both lips, the groove above them and the hollow below."""
    y = plane.fy
    upper = (y - m.outer_upper) / (m.inner_upper - m.outer_upper + 1e-3)
    lower = (y - m.inner_lower) / (m.outer_lower - m.inner_lower + 1e-3)
    within = (1 - m.s * m.s).clamp(min=0)
    height = 0.020 * (4 * upper * (1 - upper)).clamp(min=0) * within
    height = height + 0.030 * (4 * lower * (1 - lower)).clamp(min=0) * within
    philtrum = ridge(plane.nx, y, 0, p.nose_length + 0.075, 0, p.mouth_height - 0.05, 0.032)
    hollow = bump(plane.fx, y, 0, p.mouth_height + 0.115 + 0.9 * m.gap, 0.17, 0.055)
    muzzle = bump(plane.fx, y, 0, p.mouth_height, 0.36, 0.2)
    return height + 0.02 * muzzle - 0.012 * philtrum - 0.018 * hollow


def folds(p: Person, plane: Plane, a: Units, m: Mouth) -> Tensor:
    """Creases and wrinkles that muscles draw, and the shadow of them that age leaves."""
    x, y = plane.fx, plane.fy
    old = (p.age - 0.3).clamp(min=0)
    depth = torch.zeros_like(x)
    for side, sign in SIDES:
        smile = a["12" + side]
        pull = smile + 0.45 * a["10" + side] + 0.5 * a["9"] + 0.35 * a["14" + side]
        nose_x, nose_y = sign * (p.nose_width + 0.025), p.nose_length + 0.015 - 0.02 * a["9"]
        end_x = m.corner_x[side] * 1.10 + sign * 0.065
        end_y = p.mouth_height + 0.2 * (m.corner_y[side] - p.mouth_height) + 0.01
        crease = ridge(x, y, nose_x, nose_y, end_x, end_y, 0.05)
        depth = depth + (0.014 * old + 0.020 * pull) * crease
        pit = bump(x, y, m.corner_x[side] + sign * 0.02, m.corner_y[side], 0.05, 0.075)
        depth = depth + (0.018 * a["14" + side] + 0.008 * smile) * pit
        droop = ridge(
            x, y, m.corner_x[side] + sign * 0.01, m.corner_y[side] + 0.01,
            m.corner_x[side] + sign * 0.05, m.corner_y[side] + 0.15, 0.035,
        )  # fmt: skip
        depth = depth + (0.008 * old + 0.022 * a["15"]) * droop
        depth = depth + _eye_folds(p, x, y, a, sign, old)
        frown = ridge(
            x, y, sign * 0.045, p.eye_height - 0.24, sign * 0.035, p.eye_height - 0.08, 0.026
        )
        depth = depth + (0.004 * old + 0.024 * a["4"]) * frown
        for k in range(2):
            root_y = p.eye_height + 0.02 + 0.055 * k
            root = ridge(x, y, sign * 0.035, root_y + 0.02, sign * 0.10, root_y - 0.03, 0.024)
            depth = depth + 0.016 * a["9"] * root
    return depth + _forehead(p, x, y, a, old) + _chin(plane, a)


def _eye_folds(p: Person, x: Tensor, y: Tensor, a: Units, sign: int, old: Tensor) -> Tensor:
    """Bags below an eye and the fan at its outer corner."""
    ex, ey = sign * p.eye_distance, p.eye_height
    bag = ridge(x, y, ex - sign * 0.12, ey + 0.085, ex + sign * 0.13, ey + 0.075, 0.032)
    depth = (0.006 * old + 0.014 * a["6"] + 0.006 * a["7"]) * bag
    for k in (-1, 0, 1):
        fan = ridge(x, y, ex + sign * 0.175, ey + 0.02 * k, ex + sign * 0.29, ey + 0.065 * k, 0.022)
        depth = depth + (0.003 * old + 0.010 * a["6"]) * fan
    return depth


def _forehead(p: Person, x: Tensor, y: Tensor, a: Units, old: Tensor) -> Tensor:
    """Lines across the forehead: in its middle from unit 1, to its sides from unit 2."""
    depth = torch.zeros_like(x)
    for k in range(3):
        level = p.eye_height - 0.315 - 0.075 * k - 0.02 * a["1"]
        arch = y - 0.06 * x.square()
        middle = ridge(x, arch, -0.22, level, 0.22, level, 0.028)
        left = ridge(x, arch, -0.46, level + 0.02, -0.16, level, 0.028)
        right = ridge(x, arch, 0.16, level, 0.46, level + 0.02, 0.028)
        depth = depth + (0.004 * old + 0.012 * a["1"]) * middle
        depth = depth + 0.011 * (a["2L"] * left + a["2R"] * right)
    return depth


def _chin(plane: Plane, a: Units) -> Tensor:
    """The boss of the chin that unit 17 raises (a hill: negative depth)."""
    return -0.045 * a["17"] * bump(plane.fx, plane.jy, 0, 0.80, 0.17, 0.12)


def height_field(p: Person, plane: Plane, a: Units, m: Mouth, edge: Tensor) -> Tensor:
    """The whole relief in face units, (B, H, W)."""
    return skull(plane, edge) + bones(p, plane, a) + lips(p, plane, m) - folds(p, plane, a, m)
