"""Procedural faces: what they promise about expression, intensity, identity and background."""

import pytest
import torch

from mmagan_lite.expressions import EXPRESSIONS
from mmagan_lite.faces import change_mask, render

PEOPLE = torch.arange(6)
EMOTIONS = EXPRESSIONS[1:]


def change_energy(expression, rho, size=128):
    """Squared difference to the neutral face over all pixels, (6,)."""
    face = render(PEOPLE, expression, rho, nuisance=3, size=size)
    neutral = render(PEOPLE, "neutral", 0.0, nuisance=3, size=size)
    return (face - neutral).square()


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shape_range_and_8_bit_levels(size):
    image = render(1, "fear", 0.5, size=size)
    assert image.shape == (1, 3, size, size)
    assert image.dtype == torch.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert torch.equal(image, (image * 255).round() / 255)


def test_a_face_does_not_depend_on_its_batch():
    label, rho = torch.tensor([1, 2, 3, 4, 5, 6]), torch.linspace(0.2, 1, 6)
    batch = render(PEOPLE, label, rho, nuisance=PEOPLE * 7)
    backwards = render(PEOPLE.flip(0), label.flip(0), rho.flip(0), nuisance=PEOPLE.flip(0) * 7)
    assert torch.equal(batch, backwards.flip(0))
    for i in range(6):
        alone = render(i, int(label[i]), float(rho[i]), nuisance=7 * i)
        assert torch.equal(batch[i], alone[0])


def test_a_face_does_not_depend_on_the_number_of_threads():
    one = render(PEOPLE, "disgust", 0.7)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(one, render(PEOPLE, "disgust", 0.7))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("expression", EMOTIONS)
def test_intensity_zero_is_the_neutral_face(expression):
    assert torch.equal(render(PEOPLE, expression, 0.0, 5), render(PEOPLE, "neutral", 1.0, 5))


@pytest.mark.parametrize("expression", EMOTIONS)
def test_change_grows_with_intensity(expression):
    steps = torch.linspace(0, 1, 7)
    energy = torch.stack([change_energy(expression, float(r)).sum((1, 2, 3)) for r in steps])
    assert (energy.diff(dim=0) > 0).all()


@pytest.mark.parametrize("expression", EMOTIONS)
def test_only_the_mask_changes_and_it_is_a_part_of_the_face(expression):
    face = render(PEOPLE, expression, 1.0, 3)
    neutral = render(PEOPLE, "neutral", 0.0, 3)
    mask = change_mask(PEOPLE, expression, 1.0, 3)
    assert torch.equal(face.where(~mask[:, None], neutral), neutral)
    assert 0.03 < mask.float().mean() < 0.35
    assert not mask[:, :20].any()
    assert not mask[:, :, :12].any()


@pytest.mark.parametrize(
    ("expression", "upper_share"),
    [("happiness", (0.0, 0.35)), ("anger", (0.4, 1.0)), ("surprise", (0.1, 0.6))],
)
def test_the_right_muscles_move(expression, upper_share):
    """Happiness lives in the mouth, anger in the brows, surprise in both."""
    energy = change_energy(expression, 1.0).sum((0, 1, 3))  # (rows,)
    share = float(energy[:64].sum() / energy.sum())
    assert upper_share[0] < share < upper_share[1]


def test_contempt_is_one_sided():
    """Its corner of the mouth goes up on the image's right."""
    energy = change_energy("contempt", 1.0)[:, :, 70:].sum((0, 1, 2))  # lower face, by column
    assert energy[64:].sum() > 3 * energy[:64].sum()


def test_action_units_are_the_same_muscles():
    smile = {6: 1.0, 12: 1.0, 25: 0.9, 7: 0.15}
    assert torch.equal(render(3, smile, 0.6), render(3, "happiness", 0.6))
    right, both = change_mask(3, {"12R": 1}), change_mask(3, {12: 1})
    assert 0.2 < right.sum() / both.sum() < 0.8


def test_people_and_photographs_differ_and_variety_narrows_them():
    def spread(variety):
        people = render(torch.arange(12), "neutral", 0.0, torch.arange(12), 64, variety)
        return people.std(0).mean()

    assert spread(1.0) > 2 * spread(0.0) > 0
    same = render(torch.full((3,), 8), 0, 0.0, torch.arange(3), 64, variety=0.0)
    assert (same - same[:1]).abs().mean() < 2 / 255  # one pose, light and backdrop, but grain


def test_small_sizes_are_averages():
    large = render(9, "fear", 0.9, size=128)
    dark = torch.nn.functional.max_pool2d(large, 4) < 0.98  # highlights are cut after averaging
    error = render(9, "fear", 0.9, size=32) - torch.nn.functional.avg_pool2d(large, 4)
    assert dark.float().mean() > 0.9
    assert error[dark].abs().max() <= 1 / 255


def test_appearance_is_independent_of_expression():
    """The same people, whatever the label: identity is drawn without looking at it."""
    for label in range(8):
        face = render(PEOPLE, label, 1.0, 9)
        rows = slice(0, 16)  # above the face: hair and backdrop
        assert torch.equal(face[:, :, rows], render(PEOPLE, 0, 0.0, 9)[:, :, rows])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 100}, "size must be one of 32, 64, 128, 256; got 100"),
        ({"variety": -1}, "variety must be from 0 to 1"),
        ({"identity": 1.5}, "identity must be a whole number"),
        ({"identity": "anna"}, "identity must be a whole number"),
        ({"nuisance": torch.rand(2)}, "nuisance must be a whole number"),
        ({"expression": "joy"}, "Unknown expression 'joy'"),
        ({"expression": {99: 1.0}}, "Unknown action unit 99"),
        ({"expression": {12: 7.0}}, "Action unit 12 must be from 0 to 1.5"),
        ({"rho": 2.0}, "got 2"),
        ({"identity": torch.arange(3), "nuisance": torch.arange(2)}, r"lengths \[2, 3\]"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        render(**{"identity": 0, "expression": 1, "rho": 0.5, **arguments})
