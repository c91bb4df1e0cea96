"""Procedural faces: what they promise about expression, intensity, identity and background."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn import functional as F

from mmagan_lite import faces
from mmagan_lite.expressions import EXPRESSIONS
from mmagan_lite.faces import ACTION_UNITS, change_mask, geometry, render, shapes
from mmagan_lite.faces.action_units import split, vector
from mmagan_lite.faces.dice import Dice
from mmagan_lite.faces.identity import draw_nuisance, draw_person

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


def test_a_face_does_not_depend_on_its_batch_even_before_it_is_rounded():
    """The regions of a batch are larger than those of a face: no value may notice."""

    def unrounded(seeds):
        p, n, plane, scene = faces._photographs(seeds, seeds, 1.0, 0.3, 128)
        a = faces.split(faces.activate(seeds % 8, torch.full((len(seeds),), 0.7)))
        return faces.compose(p, n, a, faces.lower_jaw(plane, a), scene)

    seeds = torch.arange(14)
    batches = torch.cat([unrounded(part) for part in seeds.split(7)])
    assert torch.equal(batches, torch.cat([unrounded(part) for part in seeds.split(1)]))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_face_does_not_depend_on_the_number_of_threads(count):
    people = torch.arange(21)  # divides evenly by none of them
    one = render(people, people % 8, 0.7, people, occlusion=0.5)
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        assert torch.equal(one, render(people, people % 8, 0.7, people, occlusion=0.5))
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_an_error_while_drawing_leaves_the_threads_as_they_were(monkeypatch):
    seen = []
    monkeypatch.setattr("mmagan_lite.faces._draw_part", lambda *_: 1 / 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            render(PEOPLE, "fear")
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [2]
    finally:
        torch.set_num_threads(threads)


def test_one_person_in_many_pictures_is_drawn_as_if_alone():
    """What expressions share is drawn once; that must not show."""
    people = torch.tensor([5, 5, 2, 5, 2, 2])
    photo = torch.tensor([1, 1, 1, 9, 1, 1])
    label = torch.tensor([1, 0, 6, 1, 3, 7])
    together = render(people, label, 0.8, photo)
    for i in range(6):
        alone = render(int(people[i]), int(label[i]), 0.8, int(photo[i]))
        assert torch.equal(together[i], alone[0])


OVERDONE = dict.fromkeys(ACTION_UNITS, 1.5)


@pytest.mark.parametrize("units", [*EMOTIONS, OVERDONE], ids=[*EMOTIONS, "all units, overdone"])
def test_regions_hold_all_that_is_drawn_for_them(units, monkeypatch):
    """The reference works on whole pictures; the most turned and shifted of 400 are compared,
    one by one, since a batch's regions are as large as those of all its faces together."""
    seeds = torch.arange(400)
    pose = ("yaw", "pitch", "roll", "shift_x", "scale")
    photos = draw_nuisance(seeds, seeds, 1.0, 1)
    extreme = torch.cat([getattr(photos, name).flatten().sort().indices[[0, -1]] for name in pose])
    drawn = torch.cat([render(i, units, 1.0, i) for i in extreme])
    whole = dict.fromkeys(geometry.REGIONS, (..., slice(0, 128), slice(0, 128)))
    monkeypatch.setattr(geometry, "find_regions", lambda *_: whole)
    assert torch.equal(drawn, render(extreme, units, 1.0, extreme))


@pytest.mark.parametrize("expression", EMOTIONS)
def test_intensity_zero_is_the_neutral_face(expression):
    assert torch.equal(render(PEOPLE, expression, 0.0, 5), render(PEOPLE, "neutral", 1.0, 5))


@pytest.mark.parametrize("expression", EMOTIONS)
def test_only_the_mask_changes_and_it_is_a_part_of_the_face(expression):
    face = render(PEOPLE, expression, 1.0, 3)
    neutral = render(PEOPLE, "neutral", 0.0, 3)
    mask = change_mask(PEOPLE, expression, 1.0, 3)
    assert torch.equal(mask, (face != neutral).any(1))
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
    same = render(torch.full((12,), 8), 0, 0.0, torch.arange(12), 64, variety=0.0)
    assert (same - same[:1]).abs().mean() < 2 / 255  # one pose, light and backdrop, but grain
    assert spread(0.0) > 3 * same.std(0).mean()  # and many people


def test_people_with_one_nuisance_do_not_stand_before_one_backdrop():
    corners = render(torch.arange(12), 0, 0.0, nuisance=0, size=64)[:, :, 0, 0]
    assert (corners.std(0) > 0.05).all()


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
        ({"occlusion": 1.5}, "occlusion must be from 0 to 1"),
        ({"identity": 1.5}, "identity must be a whole number"),
        ({"identity": "anna"}, "identity must be a whole number"),
        ({"nuisance": torch.rand(2)}, "nuisance must be a whole number"),
        ({"expression": "joy"}, "Unknown expression 'joy'"),
        ({"expression": {99: 1.0}}, "Unknown action unit 99"),
        ({"expression": {12: 1.6}}, "Action unit 12 must be from 0 to 1.5"),
        ({"expression": {12: "much"}}, "Action unit 12 must be from 0 to 1.5; got 'much'"),
        ({"expression": None}, "Unknown expression None"),
        ({"size": 64.0}, "got 64.0"),
        ({"variety": None}, "variety must be from 0 to 1; got None"),
        ({"identity": torch.tensor([1j])}, "identity must be a whole number"),
        ({"rho": 2.0}, "got 2"),
        ({"identity": torch.arange(3), "nuisance": torch.arange(2)}, r"lengths \[2, 3\]"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        render(**{"identity": 0, "expression": 1, "rho": 0.5, **arguments})


# ------------------------------------------------------------------------- what faces are made of


def test_throws_of_dice_are_uniform_and_know_nothing_of_each_other():
    seeds = torch.arange(5_000)
    dice = [Dice(seeds, stream) for stream in (1, 2)]
    throws = [d.uniform(-1, 3).flatten().numpy() for d in dice for _ in range(3)]
    assert all(scipy.stats.kstest(t, "uniform", (-1, 4)).pvalue > 1e-4 for t in throws)
    assert np.abs(np.corrcoef(throws) - np.eye(6)).max() < 0.07  # five standard deviations


def test_bells_and_chances_are_as_wide_and_as_rare_as_asked_for():
    seeds = torch.arange(5_000)
    bell = Dice(seeds, 1).normal(2, 0.5)
    assert (bell.mean(), bell.std()) == pytest.approx((2, 0.5), rel=0.04)
    assert (bell - 2).abs().max() <= 1.5
    half = Dice(seeds, 1, spread=0.5)
    assert half.chance(0.4).mean() == pytest.approx(0.2, abs=0.025)
    assert half.normal(2, 0.5).std() == pytest.approx(0.25, rel=0.05)


def test_all_bits_of_a_large_seed_count():
    assert not torch.equal(render(0, 0, 0.0, size=32), render(2**32, 0, 0.0, size=32))


def test_a_person_hangs_together():
    person = draw_person(torch.arange(2_000), 1.0)
    skin, hair, iris = (
        getattr(person, name).mean(1).flatten() for name in ("skin", "hair", "iris")
    )
    young = person.age.flatten() < 0.5
    assert scipy.stats.spearmanr(skin[young], hair[young]).statistic > 0.4
    assert scipy.stats.spearmanr(skin, iris).statistic > 0.4
    colour = ((person.hair.amax(1) - person.hair.amin(1)) / person.hair.amax(1)).flatten()
    assert colour[person.age.flatten() > 0.9].mean() < 0.5 * colour[young].mean()  # grey
    assert person.feminine[person.beard > 0].max() < 0.5


def test_units_rise_all_the_way_and_are_themselves_at_rest_and_at_full_strength():
    strengths = torch.linspace(0, 1.5, 16)[:, None].expand(-1, len(ACTION_UNITS))
    seen = torch.cat([unit.flatten(1) for unit in split(strengths).values()], 1)  # (16, 25)
    assert (seen.diff(dim=0) > 0).all()
    assert torch.allclose(seen[[0, 10]], strengths[[0, 10]])
    assert (seen[5] > 0.5 - 1e-6).all()


def heights(units):
    """How far down some features of a face lie, its right side for both."""
    seed = torch.tensor([4])
    p, n, a = (
        draw_person(seed, 0.0),
        draw_nuisance(seed, seed, 0.0, 128),
        split(vector(units)[None]),
    )
    plane = faces.lower_jaw(geometry.make_plane(n, 128), a)
    mouth = geometry.mouth(p, a, torch.zeros(1, 1, 1))
    eye = geometry.eye(p, a, p.eye_distance, p.eye_height, "R")
    inner, outer = (geometry.brow(p, a, torch.full((1, 1, 1), x), "R").middle for x in (0.12, 0.45))
    inside = geometry.outline(p, plane.x, plane.chin_y)[0] > 0  # (128, 128)
    return {
        "corner": mouth.corner_y["R"], "upper lip": mouth.outer_upper, "inner brow": inner,
        "lower lip": mouth.outer_lower, "outer brow": outer, "upper lid": eye.upper,
        "lower lid": eye.lower, "chin": inside.any(1).nonzero().max(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "feature", "way"),
    [("1", "inner brow", "up"), ("2", "outer brow", "up"), ("4", "inner brow", "down"),
     ("5", "upper lid", "up"), ("43", "upper lid", "down"), ("6", "lower lid", "up"),
     ("10", "upper lip", "up"), ("12", "corner", "up"), ("15", "corner", "down"),
     ("16", "lower lip", "down"), ("26", "chin", "down"), ("27", "chin", "down")],
)  # fmt: skip
def test_a_unit_moves_what_it_is_named_for_that_way(unit, feature, way):
    moved = heights({unit: 1.0})[feature] - heights({})[feature]
    assert (moved > 0) == (way == "down")
    assert moved != 0


def test_the_two_sides_of_a_face_mirror_each_other():
    p = draw_person(torch.arange(8), 1.0)
    a = split(vector({name.rstrip("LR"): 0.7 for name in ACTION_UNITS}).expand(8, -1))
    x, y = torch.linspace(-0.6, 0.6, 25).expand(8, 1, 25), torch.full((8, 1, 25), 0.1)
    pairs = [
        (geometry.eye(p, a, -x, y, "L"), geometry.eye(p, a, x, y, "R")),
        (geometry.brow(p, a, -x, "L"), geometry.brow(p, a, x, "R")),
        (geometry.mouth(p, a, -x), geometry.mouth(p, a, x)),
    ]
    for left, right in pairs:
        for name in vars(left).keys() - {"corner_x", "corner_y"}:
            flip = -1 if isinstance(left, geometry.Mouth) and name == "s" else 1
            assert torch.allclose(getattr(left, name), flip * getattr(right, name)), name


def photographed(seed, **changes):
    """One neutral face (3, 128, 128), with some things about person and photograph changed."""
    seeds = torch.tensor([seed])
    *both, plane, scene = faces._photographs(seeds, seeds, 1.0, 0.0, 128)
    fields = [{key: c for key, c in changes.items() if hasattr(part, key)} for part in both]
    p, n = (
        replace(part, **{key: torch.full_like(getattr(part, key), c) for key, c in these.items()})
        for part, these in zip(both, fields, strict=True)
    )
    a = split(torch.zeros(1, len(ACTION_UNITS)))
    return faces.compose(p, n, a, faces.lower_jaw(plane, a), scene)[0]


@pytest.mark.parametrize("seed", range(3))
def test_light_comes_from_where_it_is_and_has_its_colour(seed):
    left, right = (photographed(seed, light_azimuth=angle).mean(0) for angle in (-0.9, 0.9))
    brighter = (left - right)[40:90]
    assert brighter[:, 35:60].mean() > 0.05 > -0.05 > brighter[:, 68:93].mean()
    above, below = (photographed(seed, light_height=angle).mean(0) for angle in (0.9, -0.9))
    under_nose_and_lip = (above - below)[85:105, 45:83]
    assert under_nose_and_lip.mean() < -0.05
    assert (above - below)[20:60, 45:83].mean() > 0
    red, green, blue = (photographed(seed, warmth=0.1) - photographed(seed, warmth=0)).mean((1, 2))
    assert red > 0.02 > green.abs()
    assert blue < -0.02
    ratio = photographed(seed, exposure=1.1).mean() / photographed(seed, exposure=0.9).mean()
    assert ratio == pytest.approx(1.1 / 0.9, rel=0.01)


@pytest.mark.parametrize(
    ("worn", "rows", "columns"),
    [
        ({"glasses": 1.0}, (45, 85), (15, 115)),
        ({"stubble": 0.8, "beard": 1.0}, (75, 122), (25, 110)),
    ],
)
def test_glasses_and_beards_are_worn_where_they_belong(worn, rows, columns):
    bare = {"glasses": 0.0, "stubble": 0.0, "beard": 0.0, "moustache": 0.0}
    for seed in range(3):
        changed = (photographed(seed, **bare) != photographed(seed, **bare | worn)).any(0)
        assert 0.02 < changed.float().mean() < 0.15
        changed[slice(*rows), slice(*columns)] = False
        assert not changed.any()


def test_shapes_agree_with_cases_worked_by_hand_and_with_torch():
    x = torch.tensor([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0])
    steps = [0, 0, 5 / 32, 1 / 2, 27 / 32, 1, 1]  # 3 t² - 2 t³
    assert shapes.smoothstep(2 * x + 3, 3, 5).tolist() == pytest.approx(steps)
    pixel = torch.tensor([0.25]).view(1, 1, 1)
    down, across = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    gx, gy = shapes.slope((3 * across - 2 * down)[None] * pixel, pixel)
    assert (gx[0, 1:-1, 1:-1] == 3).all()
    assert (gy[0, 1:-1, 1:-1] == -2).all()
    noise = torch.rand(2, 20, 30)
    padded = F.pad(noise[:, None], (3, 3, 3, 3), mode="replicate")
    assert torch.allclose(shapes.blur(noise, 3), F.avg_pool2d(padded, 7, stride=1)[:, 0], atol=1e-6)


# ------------------------------------------- slow ones last: mutants.py stops at the first failure


def test_occluders_hide_a_part_whatever_the_expression():
    people = torch.arange(60)
    bare = render(people, "anger", 1.0, people, 64)
    hidden = render(people, "anger", 1.0, people, 64, occlusion=1.0)
    covered = (hidden != bare).any(1)  # (60, 64, 64)
    assert (covered.flatten(1).float().mean(1) > 0.03).all()
    assert not covered[:, :6].any()
    neutral = render(people, 0, 0.0, people, 64, occlusion=1.0) != render(
        people, 0, 0.0, people, 64
    )
    same = (covered == neutral.any(1)).flatten(1).float().mean(1)
    assert (same > 0.95).all()  # the same object, whose edge mixes with what lies behind
    seen = change_mask(people, "anger", 1.0, people, 64, occlusion=1.0)
    assert seen.sum() < 0.8 * change_mask(people, "anger", 1.0, people, 64).sum()


def test_the_share_of_occluded_photographs_is_as_asked_and_others_stay_as_they_were():
    people = torch.arange(200)
    bare = render(people, 0, 0.0, people, 32)
    some = render(people, 0, 0.0, people, 32, occlusion=0.3)
    share = (some != bare).flatten(1).any(1).float().mean()
    assert 0.2 < share < 0.4  # three standard deviations
    assert torch.equal(render(people, 0, 0.0, people, 32, occlusion=0.0), bare)


def test_drawing_many_faces_takes_little_memory():
    """The text in `CHUNK`: what is worked on does not grow with the batch."""
    code = """
import resource, torch
from mmagan_lite.faces import render
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
render(torch.arange(32), 1, 0.5)
before = peak()
render(torch.arange(320), 1, 0.5, size=32)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 40  # MB


@pytest.mark.parametrize("expression", EMOTIONS)
def test_change_grows_with_intensity_for_256_people(expression):
    people, rho = torch.arange(256), torch.linspace(0, 1, 6)
    for some in people.split(32):
        face = render(
            some.repeat_interleave(6), expression, rho.repeat(32), some.repeat_interleave(6)
        )
        face = face.view(32, 6, -1)
        change = (face - face[:, :1]).square().sum(-1)
        assert (change.diff(dim=1) > 0).all()
