"""Who is in the picture (identity) and how it was taken (nuisance), each from its own seed.

Lengths are in face units: the crown of the skull lies at y = -1, the chin at y = +1, x and y
grow to the right and downwards. Every number is (B, 1, 1), every colour (B, 3, 1, 1).
Appearance is drawn independently of the expression; within a person it hangs together (age
greys the hair, darker skin goes with darker hair and eyes).
"""

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from .dice import Dice

SKIN = torch.tensor(
    [[0.97, 0.82, 0.74], [0.93, 0.73, 0.60], [0.84, 0.61, 0.46], [0.68, 0.46, 0.32],
     [0.51, 0.33, 0.23], [0.37, 0.23, 0.17]]
)  # fmt: skip
HAIR = torch.tensor(
    [[0.05, 0.04, 0.04], [0.12, 0.08, 0.06], [0.24, 0.14, 0.08], [0.37, 0.22, 0.12],
     [0.55, 0.27, 0.11], [0.66, 0.48, 0.24], [0.82, 0.67, 0.40]]
)  # fmt: skip
IRIS = torch.tensor(
    [[0.16, 0.09, 0.05], [0.27, 0.16, 0.08], [0.36, 0.28, 0.13], [0.30, 0.40, 0.26],
     [0.25, 0.37, 0.47], [0.38, 0.45, 0.49]]
)  # fmt: skip
BACKDROP = torch.tensor(
    [[0.35, 0.39, 0.46], [0.50, 0.46, 0.42], [0.26, 0.36, 0.38], [0.45, 0.36, 0.46],
     [0.62, 0.61, 0.58], [0.33, 0.43, 0.31], [0.23, 0.26, 0.36], [0.58, 0.47, 0.38]]
)  # fmt: skip
CLOTHES = torch.tensor(
    [[0.16, 0.19, 0.27], [0.50, 0.17, 0.18], [0.75, 0.74, 0.71], [0.20, 0.36, 0.30],
     [0.27, 0.25, 0.25], [0.36, 0.45, 0.62], [0.67, 0.53, 0.30]]
)  # fmt: skip


@dataclass
class Person:
    """What belongs to an identity; see `draw_person` for ranges."""

    feminine: Tensor
    age: Tensor
    skin: Tensor
    lips: Tensor
    blush: Tensor
    freckles: Tensor
    hair: Tensor
    iris: Tensor
    half_width: Tensor
    jaw_square: Tensor
    jaw_taper: Tensor
    eye_distance: Tensor
    eye_height: Tensor
    eye_width: Tensor
    eye_open: Tensor
    eye_tilt: Tensor
    brow_height: Tensor
    brow_thick: Tensor
    brow_arch: Tensor
    nose_length: Tensor
    nose_width: Tensor
    nose_relief: Tensor
    mouth_height: Tensor
    mouth_width: Tensor
    lip_full: Tensor
    mouth_rest: Tensor
    cheeks: Tensor
    chin: Tensor
    beard: Tensor
    stubble: Tensor
    moustache: Tensor
    glasses: Tensor
    style: Tensor  # 0 bald, 1 cropped, 2 short, 3 parted, 4 bob, 5 long, 6 curly
    hair_volume: Tensor
    hairline: Tensor
    hair_part: Tensor
    fringe: Tensor
    clothes: Tensor
    strands: Tensor
    mottle: Tensor


def palette(colours: Tensor, place: Tensor) -> Tensor:
    """Colours between the rows of a (K, 3) table; place in [0, 1] is (B, 1, 1)."""
    colours = colours.to(place.device)
    t = place.clamp(0, 1).squeeze(-1) * (len(colours) - 1)  # (B, 1)
    low = t.long().clamp(max=len(colours) - 2)
    mix = (t - low)[..., None]  # (B, 1, 1)
    blended = colours[low] * (1 - mix) + colours[low + 1] * mix  # (B, 1, 3)
    return blended.transpose(1, 2)[..., None]


def draw_person(identity: Tensor, variety: float) -> Person:
    """The people of a batch of identity seeds (B,)."""
    dice = Dice(identity, stream=1, spread=0.35 + 0.65 * variety)
    feminine = dice.uniform(0, 1)
    age = dice.uniform(0, 1)
    melanin = dice.uniform(0, 1)
    masculine = 1 - feminine

    fair = (1 - 1.25 * melanin).clamp(min=0)  # light hair and eyes only with light skin
    hair_place = (dice.uniform(-0.35, 1.1) * fair).clamp(0.02, 1)
    grey = ((age - 0.7) * 3.0 * dice.uniform(0.3, 1.6)).clamp(0, 0.9)[:, None]
    silver = torch.tensor([0.62, 0.62, 0.63], device=identity.device).view(1, 3, 1, 1)
    hair = palette(HAIR, hair_place) * (1 - grey) + silver * grey
    skin = palette(SKIN, melanin) * (1 + dice.normal(0, 0.03)[:, None])
    tint = torch.tensor([1.0, 0.0, -1.0], device=identity.device).view(1, 3, 1, 1)
    skin = (skin + dice.normal(0, 0.008)[:, None] * tint).clamp(0, 1)

    redden = torch.tensor([0.93, 0.63, 0.62], device=identity.device).view(1, 3, 1, 1)
    rouge = torch.tensor([0.72, 0.13, 0.17], device=identity.device).view(1, 3, 1, 1)
    lipstick = (dice.chance(0.5) * (feminine > 0.55) * dice.uniform(0.25, 0.75))[:, None]
    lips = (skin * redden) * (1 - lipstick) + rouge * (0.5 + 0.5 * skin[:, :1]) * lipstick

    bearded = (masculine > 0.55).float() * dice.chance(0.38)
    shadowed = (masculine > 0.5).float() * dice.chance(0.7) * dice.uniform(0.1, 0.55)
    balding = (masculine > 0.6).float() * (age > 0.35).float() * dice.chance(0.3)
    cut = dice.uniform(0, 1)
    longish = 3 + 4 * cut  # parted, bob, long, curly
    shortish = 1 + 3 * cut + 3 * (cut > 0.82)  # cropped, short, parted, now and then curly
    style = torch.where(feminine > 0.5, longish, shortish).floor().clamp(1, 6)
    return Person(
        feminine=feminine,
        age=age,
        skin=skin,
        lips=lips,
        blush=dice.uniform(0.1, 0.9),
        freckles=dice.chance(0.2) * fair,
        hair=hair,
        iris=palette(IRIS, dice.uniform(0, 1.05) * (fair > 0.25) + 0.1),
        half_width=dice.uniform(0.66, 0.76) - 0.02 * feminine,
        jaw_square=dice.uniform(2.0, 2.5) + 0.5 * masculine,
        jaw_taper=dice.uniform(0.13, 0.26) + 0.05 * feminine,
        eye_distance=dice.uniform(0.285, 0.325),
        eye_height=dice.uniform(-0.06, 0.0),
        eye_width=dice.uniform(0.142, 0.162) + 0.01 * feminine,
        eye_open=dice.uniform(0.86, 1.12) + 0.06 * feminine,
        eye_tilt=dice.uniform(-0.10, 0.16),
        brow_height=dice.uniform(0.175, 0.215) + 0.02 * feminine,
        brow_thick=dice.uniform(0.024, 0.032) + 0.014 * masculine,
        brow_arch=dice.uniform(0.015, 0.045),
        nose_length=dice.uniform(0.34, 0.40),
        nose_width=dice.uniform(0.105, 0.135) + 0.02 * melanin + 0.008 * masculine,
        nose_relief=dice.uniform(0.8, 1.2),
        mouth_height=dice.uniform(0.585, 0.635),
        mouth_width=dice.uniform(0.225, 0.27),
        lip_full=dice.uniform(0.75, 1.1) + 0.2 * feminine + 0.25 * melanin - 0.25 * age,
        mouth_rest=dice.uniform(0.0, 0.016),
        cheeks=dice.uniform(0.5, 1.3),
        chin=dice.uniform(0.5, 1.3),
        beard=bearded,
        stubble=torch.maximum(shadowed, bearded * 0.8),
        moustache=(masculine > 0.6).float() * dice.chance(0.12) * (1 - bearded),
        glasses=dice.chance(0.2),
        style=style * (1 - balding),
        hair_volume=dice.uniform(0.6, 1.3),
        hairline=dice.uniform(-0.70, -0.57),
        hair_part=dice.uniform(-0.4, 0.4),
        fringe=dice.chance(0.35),
        clothes=dice.pick(CLOTHES),
        strands=dice.texture(64, 96),
        mottle=dice.texture(48, 48),
    )


@dataclass
class Nuisance:
    """What belongs to one photograph of a person; see `draw_nuisance` for ranges."""

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    scale: Tensor
    shift_x: Tensor
    shift_y: Tensor
    gaze_x: Tensor
    gaze_y: Tensor
    light_azimuth: Tensor
    light_height: Tensor
    ambient: Tensor
    exposure: Tensor
    warmth: Tensor
    backdrop: Tensor
    backdrop_end: Tensor
    backdrop_angle: Tensor
    clouds: Tensor
    grain_strength: Tensor
    grain: Tensor
    occluder: Tensor  # 0 none, 1 sunglasses, 2 mask, 3 hand
    occluder_x: Tensor
    occluder_y: Tensor
    occluder_turn: Tensor
    occluder_colour: Tensor


def draw_nuisance(
    identity: Tensor, nuisance: Tensor, variety: float, size: int, occlusion: float = 0.0
) -> Nuisance:
    """Pose, light, backdrop, grain and occluder of a batch of (identity, nuisance) seeds (B,)."""
    seeds = identity * 0x1003F + nuisance
    dice = Dice(seeds, stream=2, spread=variety)
    backdrop = dice.pick(BACKDROP)
    object_dice = Dice(seeds, stream=3)
    occluded = object_dice.chance(occlusion)
    return Nuisance(
        yaw=dice.normal(0, 0.075),
        pitch=dice.normal(0, 0.045),
        roll=dice.normal(0, 0.06),
        scale=dice.uniform(0.75, 0.81),
        shift_x=dice.normal(0, 0.025),
        shift_y=0.03 + dice.normal(0, 0.015),
        gaze_x=dice.normal(0, 0.08),
        gaze_y=dice.normal(0, 0.04),
        light_azimuth=dice.uniform(-1.0, 0.9),
        light_height=dice.uniform(0.3, 0.95),
        ambient=dice.uniform(0.42, 0.62),
        exposure=dice.uniform(0.9, 1.12),
        warmth=dice.normal(0.01, 0.03),
        backdrop=backdrop * (1 + dice.uniform(-0.3, 0.25)[:, None]),
        backdrop_end=dice.pick(BACKDROP) * (1 + dice.uniform(-0.3, 0.25)[:, None]),
        backdrop_angle=dice.uniform(-3.14, 3.14),
        clouds=dice.texture(8, 8),
        grain_strength=dice.uniform(0.006, 0.018),
        grain=dice.texture(size, size),
        occluder=occluded * (1 + object_dice.uniform(0, 3).floor().clamp(max=2)),
        occluder_x=object_dice.uniform(-1, 1),
        occluder_y=object_dice.uniform(-1, 1),
        occluder_turn=object_dice.uniform(-1, 1),
        occluder_colour=object_dice.pick(CLOTHES),
    )


Batch = TypeVar("Batch")


def few(batch: Batch, which: Tensor) -> Batch:
    """Some faces of a batch, as one of its dataclasses; `which` are their indices."""
    fields = ((f.name, getattr(batch, f.name)) for f in dataclasses.fields(batch))
    tensors = {name: value[which] for name, value in fields if isinstance(value, Tensor)}
    return dataclasses.replace(batch, **tensors)
