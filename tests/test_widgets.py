"""Panels against editors whose effect is known by hand."""

import asyncio
import base64
import inspect
import io

import numpy as np
import pytest
import skimage.data
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

import mmagan_lite as mg
from mmagan_lite import widgets

PERSON = 1_000_007  # in front of a dark wall


class Lamp(torch.nn.Module):
    """An editor that brightens some pixels by 40 levels at ρ = 1, and counts its calls."""

    def __init__(self, where):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.where, self.calls = where, 0
        self.config = mg.Config.profile("laptop")  # 64 pixels

    def forward(self, x, z):
        self.calls += 1
        return x + 40 / 127.5 * z.sum(1)[:, None, None, None] * self.where


def corner():
    """The upper left corner of the wall: a sixteenth of a picture of 64 pixels."""
    where = torch.zeros(64, 64)
    where[:16, :16] = 1
    return where


@pytest.fixture(scope="module")
def lamp():
    return Lamp(corner())


@pytest.fixture(scope="module")
def kept(lamp):
    return widgets.explore(lamp, PERSON)


@pytest.fixture(scope="module")
def kept_muscles():
    return widgets.action_units(PERSON)


@pytest.fixture
def muscles(kept_muscles):
    kept_muscles.identity.value, kept_muscles.rho.value = PERSON, 1.0
    kept_muscles.show("neutral")
    return kept_muscles


@pytest.fixture
def panel(kept):
    kept.identity.value, kept.expression.value, kept.rho.value = PERSON, "happiness", 1.0
    return kept


def controls(widget):
    """The widgets that can be operated, in the order of the Tab key."""
    for child in getattr(widget, "children", ()):
        yield from controls(child)
    if hasattr(widget, "disabled"):
        yield widget


def tile(panel, number):
    """One of the large pictures, by its place, as numbers (256, 256, 3)."""
    left, top = widgets.GAP + number * (widgets.TILE + widgets.GAP), widgets.GAP + widgets.CAPTION
    box = (left, top, left + widgets.TILE, top + widgets.TILE)
    return np.asarray(panel.picture().crop(box), dtype=int)


def drawn(expression, rho, size=64, person=PERSON):
    """A rendered face as it appears in a large picture."""
    pixels = mg.faces.render(person, expression, rho, size=size)[0].mul(255).round().byte()
    return enlarged(Image.fromarray(pixels.permute(1, 2, 0).numpy()))


def enlarged(image):
    return np.asarray(image.resize((256, 256), Image.Resampling.BICUBIC), dtype=int)


@pytest.mark.parametrize(("rho", "mean"), [(0.0, "0.0"), (0.5, "1.2"), (1.0, "2.5")])
def test_sentence_gives_the_change_worked_by_hand(panel, rho, mean):
    panel.expression.value, panel.rho.value = "surprise", rho  # 40 levels x rho on 1/16: 2.5 x rho
    share = ", 0% of it where the exact answer changes" if rho else ""
    sentence = f"person 1000007, surprise, ρ = {rho}: mean change {mean} of 255 levels{share}"
    assert panel.describe() == panel.facts.value == sentence
    assert repr(panel) == f"ExpressionExplorer: {sentence}"


def test_change_in_the_right_place_counts_in_full():
    where = mg.faces.change_mask(PERSON, "anger", 1.0, size=64)[0].float()
    panel = widgets.explore(Lamp(where), PERSON)
    panel.expression.value = "anger"
    assert panel.describe().endswith("100% of it where the exact answer changes")


def test_panel_shows_input_output_answer_and_difference(panel):
    panel.expression.value, panel.rho.value = "surprise", 0.8
    before, after, answer, difference = (tile(panel, number) for number in range(4))
    assert (before == drawn("neutral", 0)).all()
    assert (answer == drawn("surprise", 0.8)).all()
    assert (after[80:] == before[80:]).all()
    assert (after - before)[4:56, 4:56].mean() == pytest.approx(32, abs=0.5)
    assert (difference[80:] == 255).all()
    pale_red = [255, 127.5, 127.5]  # half of the range
    assert np.abs(difference[4:56, 4:56] - pale_red).max() < 1


def test_darker_is_blue_and_saturates():
    before, after = (Image.new("RGB", (1, 1), (level,) * 3) for level in (200, 200 - widgets.RANGE))
    assert widgets._difference(before, after).getpixel((0, 0)) == (0, 0, 255)
    black = Image.new("RGB", (1, 1))
    assert widgets._difference(before, black).getpixel((0, 0)) == (0, 0, 255)


def test_each_control_changes_the_picture(panel):
    seen = {panel.image.value}
    panel.rho.value = 0.3
    seen.add(panel.image.value)
    panel.expression.value = "fear"
    seen.add(panel.image.value)
    panel.next_person.click()
    seen.add(panel.image.value)
    assert len(seen) == 4
    assert panel.identity.value == PERSON + 1


def test_moving_the_slider_asks_nothing_of_the_model(panel, lamp):
    before = lamp.calls
    for step in range(11):
        panel.rho.value = step / 10
    panel.expression.value = "contempt"
    assert lamp.calls == before
    panel.identity.value = PERSON + 2
    assert lamp.calls == before + 8  # a sweep for each expression


def test_after_the_last_person_comes_the_first(panel):
    panel.identity.value = panel.identity.max
    panel.next_person.click()
    assert panel.identity.value == panel.identity.min == 1_000_000


@pytest.mark.parametrize(("kind", "count"), [("panel", 4), ("muscles", 36)])
def test_every_control_has_a_label_and_can_be_reached(request, kind, count):
    found = list(controls(request.getfixturevalue(kind)))
    assert len(set(found)) == count
    assert all(control.description and not control.disabled for control in found)
    assert all(getattr(control, "tabbable", None) is not False for control in found)


@pytest.mark.parametrize("kind", ["panel", "muscles"])
def test_pages_without_a_kernel_get_picture_and_text(request, kind):
    panel = request.getfixturevalue(kind)
    data, _ = DisplayFormatter().format(panel)
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.size == panel.picture().size
    error = np.asarray(picture.convert("RGB"), dtype=int) - np.asarray(panel.picture(), dtype=int)
    assert np.abs(error).mean() < 2  # a palette of 256 colours
    assert data["text/plain"] == repr(panel)
    assert data[widgets.WIDGET_VIEW]["model_id"] == panel.model_id


def test_a_photograph_is_edited_without_an_exact_answer(lamp):
    panel = widgets.explore(lamp, photo=skimage.data.astronaut())
    assert panel.describe() == "photograph, happiness, ρ = 1.0: mean change 2.5 of 255 levels"
    assert panel.children[0].layout.display == "none"
    assert (tile(panel, 2)[80:] == 255).all()  # the difference follows the output at once


def test_a_photograph_without_a_face_is_refused(lamp):
    with pytest.raises(ValueError, match="face"):
        widgets.explore(lamp, photo=Image.new("RGB", (200, 200), "white"))


def test_the_packages_model_is_the_default(monkeypatch, lamp):
    monkeypatch.setattr(widgets.editing, "default_model", lambda: lamp)
    assert widgets.explore().model is lamp


@pytest.mark.parametrize("name", mg.EXPRESSIONS)
def test_units_at_a_prototype_make_the_face_of_that_name(muscles, name):
    button = next(c for c in controls(muscles) if c.description == name)
    button.click()
    muscles.rho.value = 0.6
    neutral, face, changes = (tile(muscles, number) for number in range(3))
    assert (neutral == drawn("neutral", 0, 128)).all()
    assert (face == drawn(name, 0.6, 128)).all()
    mask = mg.faces.change_mask(PERSON, name, 0.6)[0]
    black = Image.fromarray((~mask).numpy()).convert("RGB")
    assert (changes == enlarged(black)).all()
    assert f": {mask.float().mean():.0%} of the pixels change" in muscles.describe()
    assert muscles.nearest() == (name, pytest.approx(float(name != "neutral")))


def test_every_unit_has_a_slider_that_moves_its_own_muscle(muscles):
    assert list(muscles.units) == list(mg.faces.ACTION_UNITS)
    for unit, slider in muscles.units.items():
        muscles.show({unit: 1.5})
        assert [u for u, s in muscles.units.items() if s.value] == [unit]
        assert slider.description.split()[0] == unit
        assert (tile(muscles, 1) == drawn({unit: 1.5}, 1.0, 128)).all()


def test_muscles_follow_unit_person_and_strength(muscles):
    seen = {muscles.image.value}
    muscles.units["12R"].value = 0.8
    seen.add(muscles.image.value)
    muscles.next_person.click()
    seen.add(muscles.image.value)
    muscles.rho.value = 0.5
    seen.add(muscles.image.value)
    assert len(seen) == 4
    assert (tile(muscles, 1) == drawn({"12R": 0.8}, 0.5, 128, PERSON + 1)).all()
    shown = Image.open(io.BytesIO(muscles.image.value))
    assert (np.asarray(shown) == np.asarray(muscles.picture())).all()
    assert muscles.facts.value == muscles.describe()


def test_the_sentence_about_muscles_joins_equal_sides(muscles):
    muscles.show({6: 1, 12: 1, "25": 0.9})
    start = f"person {PERSON}, units 6 1.00, 12 1.00, 25 0.90 at ρ = 1.00: "
    assert muscles.describe().startswith(start)
    muscles.units["12L"].value = 0.25
    assert ", units 6 1.00, 12L 0.25, 12R 1.00, 25 0.90 at" in muscles.describe()
    muscles.show({})
    sentence = "no units at ρ = 1.00: 0% of the pixels change, most like neutral"
    assert muscles.describe() == f"person {PERSON}, {sentence}"


def test_likeness_is_the_cosine_worked_by_hand(muscles):
    muscles.show({27: 1, 43: 1})  # surprise: 1, 2L, 2R, 5, 25, 27; one of two in common
    assert muscles.nearest() == ("surprise", pytest.approx(1 / (2**0.5 * 6**0.5)))
    muscles.rho.value = 0.2  # shorter, but in the same direction
    assert muscles.describe().endswith("most like surprise (cosine 0.29)")
    muscles.rho.value = 0
    assert muscles.describe().endswith("0% of the pixels change, most like neutral")


def test_unknown_expressions_and_units_move_no_muscle(muscles):
    muscles.show("anger")
    before = muscles.describe()
    for wrong in ("joy", {99: 1.0}, {12: 2.0}):
        with pytest.raises(ValueError, match=r"Unknown|from 0 to 1\.5"):
            muscles.show(wrong)
    assert muscles.describe() == before


def test_quick_requests_become_one_that_sees_the_last_position():
    position, seen = 0, []
    request = widgets.Debounced(lambda: seen.append(position), seconds=0.01)

    async def drag():
        nonlocal position
        for position in range(1, 6):  # noqa: B007
            request()
        await asyncio.sleep(0.05)
        position = 9
        request()
        await asyncio.sleep(0.05)

    asyncio.run(drag())
    assert seen == [5, 9]


def test_a_drag_is_followed_before_it_ends():
    seen = []
    request = widgets.Debounced(lambda: seen.append(None), seconds=0.01)

    async def drag():
        for _ in range(30):
            request()
            await asyncio.sleep(0.004)
        assert len(seen) >= 5

    asyncio.run(drag())


@pytest.mark.parametrize("kind", ["panel", "muscles"])
def test_in_a_running_loop_the_panel_follows_a_moment_later(request, kind):
    panel = request.getfixturevalue(kind)
    control = panel.rho if kind == "panel" else panel.units["27"]

    async def move():
        before = panel.image.value
        control.value = 0.2
        assert panel.image.value == before
        await asyncio.sleep(0.2)
        assert panel.image.value != before

    asyncio.run(move())


def test_source_is_the_code_that_runs():
    shown = widgets.source(mg.Trainer.train_step, mg.encode).data
    assert shown.startswith("```python\ndef train_step(self)")
    assert inspect.getsource(mg.encode) in shown


def test_captions_have_the_letters_that_they_need():
    drawn_as = {letter: bytes(widgets._font().getmask(letter)) for letter in "ρ−±\uffff"}
    assert len(set(drawn_as.values())) == 4  # none is the box for missing letters
