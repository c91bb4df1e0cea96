"""Exercises of notebook 01: data preparation."""

import math

import numpy as np
import torch
from torch import Tensor

from mmagan_lite.exercises.room import exercise


@exercise("01", "Say where two pictures differ at all, in any of their three colours.")
def changed(face: Tensor, neutral: Tensor) -> Tensor:
    """Bool (B, H, W): where pictures (B, 3, H, W) of 8-bit levels in [0, 1] differ."""
    return (face != neutral).any(1)


changed.worked.append(
    (
        (
            torch.tensor([[[[0.0, 0]], [[0, 0]], [[0, 1 / 255]]]]),
            torch.zeros(1, 3, 1, 2),
        ),
        torch.tensor([[[False, True]]]),
    )
)


def _levels(seed: int) -> tuple[Tensor, Tensor]:
    """Two pictures that differ by a level or more, up or down, in a few colours."""
    random = torch.Generator().manual_seed(seed)
    neutral = torch.randint(20, 230, (2, 3, 6, 7), generator=random)
    step = torch.randint(-12, 13, neutral.shape, generator=random)
    few = torch.rand(neutral.shape, generator=random) < 0.2
    return (neutral + step * few) / 255, neutral / 255


@changed.case
def _changes_up_and_down():
    return _levels(1)


@changed.case
def _changes_that_cancel():
    face, neutral = _levels(2)
    face = face.clone()
    face[0, :, 0, 0] = neutral[0, :, 0, 0]
    face[0, 0, 0, 0] += 64 / 255  # exact in floats, so that red and green cancel
    face[0, 1, 0, 0] -= 64 / 255
    return face, neutral


@changed.use_oracle
def _pixel_by_pixel(face, neutral):
    face, neutral = ((255 * t).round().int().numpy() for t in (face, neutral))
    batch, _, height, width = face.shape
    found = np.zeros((batch, height, width), bool)
    for b, i, j in np.ndindex(found.shape):
        found[b, i, j] = face[b, :, i, j].tolist() != neutral[b, :, i, j].tolist()
    return torch.from_numpy(found)


@changed.misconception(
    "answers for each colour", "one answer a pixel is wanted: is any of its colours different?"
)
def _each_colour(face, neutral):
    return face != neutral


@changed.misconception(
    "wants all three colours to differ", "a pixel that only gets a little bluer has changed."
)
def _all_colours(face, neutral):
    return (face != neutral).all(1)


@changed.misconception("sees only what gets brighter", "a frown makes pixels darker.")
def _brighter(face, neutral):
    return (face > neutral).any(1)


@changed.misconception(
    "leaves out small changes", "one level in 255 counts; your threshold is larger than that."
)
def _threshold(face, neutral):
    return ((face - neutral).abs() > 0.02).any(1)


@changed.misconception(
    "compares with 1/255, which floats do not hit exactly",
    "the difference of two floats may fall a little short of 1/255; no threshold is needed.",
)
def _one_level(face, neutral):
    return ((face - neutral).abs() >= 1 / 255).any(1)


@changed.misconception("adds the colours up first", "what if red rises by as much as green falls?")
def _sum_of_colours(face, neutral):
    return ((255 * face).round() - (255 * neutral).round()).sum(1) != 0


@exercise("01", "Scale and rotation, in degrees, that bring two eyes to their place in a crop.")
def level(left_eye, right_eye, size):
    """Eyes (x, y) in the photograph, side of the crop -> scale, degrees."""
    dx, dy = right_eye[0] - left_eye[0], right_eye[1] - left_eye[1]
    return 0.275 * size / math.hypot(dx, dy), -math.degrees(math.atan2(dy, dx))


level.tolerance = 1e-3
level.worked.append((((30, 40), (60, 80), 128), (0.704, -53.1301)))


@level.case
def _hanging_to_the_left():
    return (10.0, 80.0), (70.0, 35.0), 64


@level.case
def _upside_down():
    return (90.0, 20.0), (30.0, 45.0), 128


@level.use_oracle
def _by_a_complex_number(left_eye, right_eye, size):
    across = complex(*right_eye) - complex(*left_eye)
    turn = np.angle(np.conj(across), deg=True)
    return 0.275 * size / abs(across), float(turn)


@level.misconception("has the scale upside down", "a large face needs a small scale.")
def _inverse(left, right, size):
    return 1 / level.reference(left, right, size)[0], level.reference(left, right, size)[1]


@level.misconception(
    "ignores the size of the crop", "a crop of twice the side shows the eyes twice as far apart."
)
def _fixed_size(left, right, size):
    return level.reference(left, right, 128)


@level.misconception(
    "forgets that eyes take up only a part of the crop",
    "the eyes should end 0.275 of the crop's side apart, not a whole side.",
)
def _whole_side(left, right, size):
    return level.reference(left, right, size)[0] / 0.275, level.reference(left, right, size)[1]


@level.misconception("gives the angle in radians", "`math.degrees` converts.")
def _radians(left, right, size):
    scale, degrees = level.reference(left, right, size)
    return scale, math.radians(degrees)


@level.misconception("turns further instead of back", "the rotation undoes the tilt: which sign?")
def _wrong_sign(left, right, size):
    scale, degrees = level.reference(left, right, size)
    return scale, -degrees


@level.misconception("swaps x and y in the arctangent", "`math.atan2` takes y first.")
def _swapped(left, right, size):
    dx, dy = right[0] - left[0], right[1] - left[1]
    return level.reference(left, right, size)[0], -math.degrees(math.atan2(dx, dy))


@level.misconception(
    "uses atan, which cannot tell a face from one upside down",
    "the quotient dy / dx is the same for both directions; `atan2` looks at both signs.",
)
def _plain_arctangent(left, right, size):
    dx, dy = right[0] - left[0], right[1] - left[1]
    return level.reference(left, right, size)[0], -math.degrees(math.atan(dy / dx))


@level.misconception(
    "measures the distance along x only", "a tilted head has its eyes apart in y, too."
)
def _along_x(left, right, size):
    return 0.275 * size / abs(right[0] - left[0]), level.reference(left, right, size)[1]


@exercise("01", "Say of each picture whether it is for testing, if these people are.")
def split_by_person(subjects, test_people):
    """Who is in each picture, and a set of people -> a list of bool, one a picture."""
    return [person in test_people for person in subjects]


split_by_person.worked.append(
    (
        (["ada", "bo", "ada", "cy", "bo", "ada"], {"ada"}),
        [True, False, True, False, False, True],
    )
)


@split_by_person.case
def _names_that_begin_alike():
    return ["ann", "anna", "bert", "ann", "cleo", "anna", "bert"], {"anna", "bert"}


@split_by_person.case
def _nobody_chosen():
    return ["kim", "lee", "kim"], set()


@split_by_person.use_oracle
def _by_positions(subjects, test_people):
    places = {i for person in test_people for i, s in enumerate(subjects) if s == person}
    return [i in places for i in range(len(subjects))]


@split_by_person.misconception("marks the pictures for training", "which of the two is True?")
def _inverted(subjects, test_people):
    return [person not in test_people for person in subjects]


@split_by_person.misconception(
    "takes only the first picture of each person", "all pictures of a person go together."
)
def _first_only(subjects, test_people):
    return [p in test_people and subjects.index(p) == i for i, p in enumerate(subjects)]


@split_by_person.misconception(
    "answers for each person instead of each picture", "how many pictures are there?"
)
def _each_person(subjects, test_people):
    return [person in test_people for person in sorted(set(subjects))]


@split_by_person.misconception(
    "splits by place in the list, so that people are in both halves",
    "look at who is in the picture, not at where it stands.",
)
def _by_place(subjects, test_people):
    return [i < len(test_people) * len(subjects) // 5 for i in range(len(subjects))]


@split_by_person.misconception(
    "looks for a name within other names", "Ann is not Anna: compare whole names."
)
def _part_of_a_name(subjects, test_people):
    return [any(person in other for other in test_people) for person in subjects]
