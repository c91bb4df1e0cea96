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


def add(height: Tensor, part: Plane, hill: Tensor) -> None:
    """Raise the part of a relief (B, H, W) that a region covers, in place."""
    height[part.place] += hill


def cheeks(p: Person, part: Plane, a: Units) -> Tensor:
    """Brow ridge, sockets and cheek bones."""
    x, y = part.fx, part.fy
    eye_y = p.eye_height
    height = 0.035 * (1.2 - 0.5 * p.feminine) * bump(x, y, 0, eye_y - 0.2, 0.62, 0.15)
    lift = 0.05 * a["6"] + 0.02 * a["9"]
    for side, sign in SIDES:
        smile = a["12" + side]
        cheek_y = 0.26 - lift - 0.03 * smile
        apple = 0.032 * p.cheeks + 0.024 * smile + 0.018 * a["6"]
        height += apple * bump(x, y, sign * 0.38, cheek_y, 0.30, 0.27)
    return height


def nose(p: Person, part: Plane, a: Units) -> Tensor:
    """Bridge, tip and wings."""
    nx, ny = part.nx, part.ny
    tip = p.nose_length
    wing = p.nose_width * (1 + 0.14 * a["38"] + 0.12 * a["9"])
    wing_y = tip + 0.035 - 0.035 * a["9"] - 0.012 * (a["10L"] + a["10R"]) / 2
    tip_y = tip - 0.012 * a["9"] - 0.004 * (a["12L"] + a["12R"])
    height = bump(nx, ny, 0, p.eye_height + 0.12, 0.16, 0.36) * 0.043
    height += bump(nx, ny, 0, tip_y - 0.10, 0.12, 0.22) * 0.045
    height += bump(nx, ny, 0, tip_y, 0.115, 0.10) * 0.07
    height += bump(nx.abs(), ny, wing * 0.78, wing_y, 0.075, 0.072) * 0.04
    return height * p.nose_relief


def wrinkled_nose(p: Person, part: Plane, a: Units) -> Tensor:
    """Creases at the root of the nose and the frown above it (depths)."""
    x, y = part.fx.abs(), part.fy
    old = age(p)
    frown = ridge(x, y, 0.045, p.eye_height - 0.24, 0.035, p.eye_height - 0.08, 0.026)
    depth = (0.004 * old + 0.024 * a["4"]) * frown
    for k in range(2):
        root_y = p.eye_height + 0.02 + 0.055 * k
        root = ridge(x, y, 0.035, root_y + 0.02, 0.10, root_y - 0.03, 0.024)
        depth += 0.016 * a["9"] * root
    return depth


def eye_surroundings(p: Person, part: Plane, a: Units, sign: int) -> Tensor:
    """The socket's hollow and the ball in it, the bag below and the fan at the outer corner."""
    x, y, ex, ey, old = part.fx, part.fy, sign * p.eye_distance, p.eye_height, age(p)
    height = 0.030 * bump(x, y, ex, ey, 0.17, 0.11) - 0.075 * bump(x, y, ex, ey + 0.005, 0.24, 0.17)
    bag = ridge(x, y, ex - sign * 0.12, ey + 0.085, ex + sign * 0.13, ey + 0.075, 0.032)
    height -= (0.006 * old + 0.014 * a["6"] + 0.006 * a["7"]) * bag
    for k in (-1, 0, 1):
        fan = ridge(x, y, ex + sign * 0.175, ey + 0.02 * k, ex + sign * 0.29, ey + 0.065 * k, 0.022)
        height -= (0.003 * old + 0.010 * a["6"]) * fan
    return height


def forehead(p: Person, part: Plane, a: Units) -> Tensor:
    """Lines across the forehead: in its middle from unit 1, to its sides from unit 2 (depths)."""
    x, old = part.fx, age(p)
    arch = part.fy - 0.06 * x.square()
    depth = torch.zeros_like(x)
    for k in range(3):
        level = p.eye_height - 0.315 - 0.075 * k - 0.02 * a["1"]
        middle = ridge(x, arch, -0.22, level, 0.22, level, 0.028)
        left = ridge(x, arch, -0.46, level + 0.02, -0.16, level, 0.028)
        right = ridge(x, arch, 0.16, level, 0.46, level + 0.02, 0.028)
        depth += (0.004 * old + 0.012 * a["1"]) * middle
        depth += 0.011 * (a["2L"] * left + a["2R"] * right)
    return depth


def lips(p: Person, part: Plane, m: Mouth) -> Tensor:
    """The rounding of both lips, the groove above them and the hollow below."""
    y = part.fy
    upper = (y - m.outer_upper) / (m.inner_upper - m.outer_upper + 1e-3)
    lower = (y - m.inner_lower) / (m.outer_lower - m.inner_lower + 1e-3)
    within = (1 - m.s * m.s).clamp(min=0)
    height = 0.020 * (4 * upper * (1 - upper)).clamp_(min=0) * within
    height += 0.030 * (4 * lower * (1 - lower)).clamp_(min=0) * within
    philtrum = ridge(part.nx, y, 0, p.nose_length + 0.075, 0, p.mouth_height - 0.05, 0.032)
    hollow = bump(part.fx, y, 0, p.mouth_height + 0.115 + 0.9 * m.gap, 0.17, 0.055)
    muzzle = bump(part.fx, y, 0, p.mouth_height, 0.36, 0.2)
    return height + 0.02 * muzzle - 0.012 * philtrum - 0.018 * hollow


def mouth_folds(p: Person, part: Plane, a: Units, m: Mouth) -> Tensor:
    """Creases from the nose to the corners of the mouth, and at and below them (depths)."""
    x, y, old = part.fx, part.fy, age(p)
    depth = torch.zeros_like(x)
    for side, sign in SIDES:
        smile = a["12" + side]
        pull = smile + 0.45 * a["10" + side] + 0.5 * a["9"] + 0.35 * a["14" + side]
        nose_x, nose_y = sign * (p.nose_width + 0.025), p.nose_length + 0.015 - 0.02 * a["9"]
        corner_x, corner_y = m.corner_x[side], m.corner_y[side]
        end_x = corner_x * 1.10 + sign * 0.065
        end_y = p.mouth_height + 0.2 * (corner_y - p.mouth_height) + 0.01
        crease = ridge(x, y, nose_x, nose_y, end_x, end_y, 0.05)
        depth += (0.014 * old + 0.020 * pull) * crease
        pit = bump(x, y, corner_x + sign * 0.02, corner_y, 0.05, 0.075)
        depth += (0.018 * a["14" + side] + 0.008 * smile) * pit
        droop = ridge(
            x, y, corner_x + sign * 0.01, corner_y + 0.01,
            corner_x + sign * 0.05, corner_y + 0.15, 0.035,
        )  # fmt: skip
        depth += (0.008 * old + 0.022 * a["15"]) * droop
    return depth


def chin(p: Person, part: Plane, a: Units) -> Tensor:
    """The chin, and its boss that unit 17 raises."""
    x, y = part.fx, part.jy
    return 0.035 * p.chin * bump(x, y, 0, 0.87, 0.24, 0.16) + 0.045 * a["17"] * bump(
        x, y, 0, 0.80, 0.17, 0.12
    )


def age(p: Person) -> Tensor:
    """How far a face is creased at rest, 0 to 0.7."""
    return (p.age - 0.3).clamp(min=0)


def height_field(p: Person, plane: Plane, a: Units, m: Mouth, edge: Tensor) -> Tensor:
    """The whole relief in face units, (B, H, W); `m` lies on the region of the mouth."""
    height = skull(plane, edge)
    part = plane.part("cheeks")
    add(height, part, cheeks(p, part, a))
    part = plane.part("nose")
    add(height, part, nose(p, part, a) - wrinkled_nose(p, part, a))
    part = plane.part("forehead")
    add(height, part, -forehead(p, part, a))
    for name, sign in (("left eye", -1), ("right eye", 1)):
        part = plane.part(name)
        add(height, part, eye_surroundings(p, part, a, sign))
    part = plane.part("mouth")
    add(height, part, lips(p, part, m) + chin(p, part, a) - mouth_folds(p, part, a, m))
    return height
