"""Panels against editors whose effect is known by hand."""

import asyncio
import base64
import inspect
import io
import os
import shutil
import time

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import mmagan_lite as mg
from mmagan_lite import plots, widgets
from mmagan_lite.training import COLUMNS

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


# --------------------------------------------------------------------------- training panel


@pytest.fixture(scope="module")
def faces32():
    return mg.ProceduralFaces("train", 40, 32)  # of all eight expressions


@pytest.fixture(scope="module")
def complete(tmp_path_factory, faces32):
    config = mg.Config.profile("smoke", steps=80, warmup_steps=20)
    return mg.Trainer(config, faces32, tmp_path_factory.mktemp("runs") / "first").fit()


def opened(folder):
    return widgets.watch(folder, seconds=0.02)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def row_of(step):
    return f"{step},9" + ",0.5" * 16 + "\n"


def test_a_training_panel_shows_the_curves_and_the_newest_faces(complete):
    picture = opened(complete.folder).picture()
    assert picture.width == 1000 + 2 * widgets.GAP
    canvas = FigureCanvasAgg(Figure((plots.WIDTH, 5.2), dpi=100, layout="constrained"))
    plots.history(pd.read_csv(complete.folder / "history.csv"), canvas.figure)
    canvas.draw()
    curves = picture.crop((widgets.GAP, widgets.GAP, 1000 + widgets.GAP, 520 + widgets.GAP))
    assert np.array_equal(curves, np.asarray(canvas.buffer_rgba())[..., :3])
    side = (1000 + widgets.GAP) // 9 - widgets.GAP
    top = 520 + 2 * widgets.GAP + widgets.CAPTION
    for number in range(9):
        left = widgets.GAP + number * (side + widgets.GAP)
        shown = picture.crop((left, top, left + side, top + side)).resize((32, 32))
        made = complete.sample_grid()[1:33, 1 + 33 * number : 33 + 33 * number]
        assert np.abs(np.asarray(shown, dtype=int) - made).mean() < 6  # enlarged and back


def test_the_sentence_of_a_training_panel_gives_the_last_means(complete):
    last = complete.history[-2:]  # a fiftieth of 100 steps
    mean = {key: sum(row[key] for row in last) / 2 for key in widgets.SUMMARY}
    panel = opened(complete.folder)
    gap = f"{mean['gap']:z.2f}".replace("-", "−")
    assert (
        panel.describe()
        == panel.facts.value.replace("&gt;", ">")
        == (
            f"{complete.folder}: step 80 of 80, complete: "
            f"target accuracy {mean['accuracy_fake']:.2f}, "
            f"accuracy on real faces {mean['accuracy_real']:.2f}, score gap {gap}, "
            f"intensity loss (6) {mean['generator_rho']:.2f}, "
            f"mean |G(x, z) − x| {mean['change']:.2f}, faces of step 80"
        )
    )
    assert (panel.progress.value, panel.progress.max) == (100, 100)


@pytest.mark.parametrize("count", [2, 3])
def test_faces_of_another_set_of_expressions_are_numbered(count, monkeypatch):
    shown = {}
    monkeypatch.setattr(widgets, "_row", lambda faces, side: shown.update(faces))
    widgets._first_person(Image.new("RGB", (count * 65 + 1, 2 * 65 + 1)), 1000)
    assert list(shown) == ["input", "edit 1", "edit 2"][:count]
    assert all(face.size == (64, 64) for face in shown.values())


def test_the_panel_follows_a_run_that_starts_later_and_ends_with_it(tmp_path, faces32):
    panel = opened(tmp_path / "run")
    assert "There is no folder" in panel.facts.value
    trainer = mg.Trainer(mg.Config.profile("smoke"), faces32, tmp_path / "run").fit(steps=2)
    until(lambda: "step 2 of 4" in panel.facts.value)
    assert not panel.stop_button.disabled
    trainer.fit()
    until(lambda: panel.stop_button.disabled)
    assert "step 4 of 4, complete" in panel.facts.value
    assert panel.progress.value == panel.progress.max == 6
    assert np.array_equal(Image.open(io.BytesIO(panel.image.value)), panel.picture())
    panel._thread.join(5)
    assert not panel._thread.is_alive()
    assert panel.run.folder not in panel.watching


def test_the_button_stops_watching_and_nothing_else(tmp_path, faces32):
    trainer = mg.Trainer(mg.Config.profile("smoke"), faces32, tmp_path / "run").fit(steps=2)
    panel = opened(trainer.folder)
    panel.stop_button.click()
    assert panel.stop_button.disabled
    assert not panel._thread.is_alive()
    before = panel.facts.value
    trainer.fit()
    time.sleep(0.1)
    assert panel.facts.value == before
    assert "step 4 of 4, complete" in opened(trainer.folder).facts.value  # the cell, run again


def test_a_second_panel_of_a_run_takes_over_from_the_first(tmp_path):
    first = opened(tmp_path / "run")
    second, other = opened(tmp_path / "run"), opened(tmp_path / "other")
    assert not first._thread.is_alive()
    assert second._thread.is_alive()
    assert other._thread.is_alive()
    second.stop()
    other.stop()
    assert not widgets.TrainingPanel.watching


@pytest.fixture
def unfinished(tmp_path, complete):
    """A panel of a run without its checkpoint, so that it is never complete."""
    folder = shutil.copytree(complete.folder, tmp_path / "run")
    (folder / "checkpoint.pt").unlink()
    panel = opened(folder)
    yield panel
    panel.stop()


def append(panel, text):
    with open(panel.run.folder / "history.csv", "a") as file:
        file.write(text)


def test_what_cannot_be_drawn_is_told_and_tried_again(unfinished, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(plots, "history", lambda *_: 1 / 0)
        append(unfinished, row_of(81))
        until(lambda: unfinished.facts.value == "The panel could not be drawn: division by zero")
    append(unfinished, row_of(82) + "83,9")
    until(lambda: "run: step 82, " in unfinished.facts.value)


def test_nothing_is_drawn_while_nothing_is_new(unfinished, monkeypatch):
    drawn = []
    monkeypatch.setattr(unfinished, "redraw", lambda: drawn.append(None))
    time.sleep(0.3)
    assert not drawn
    append(unfinished, row_of(81))
    until(lambda: drawn)


def test_drawing_takes_a_tenth_of_the_time_at_most(unfinished, monkeypatch):
    drawn = []

    def draw():
        end = time.thread_time() + 0.03
        while time.thread_time() < end:
            pass
        drawn.append(time.monotonic())

    monkeypatch.setattr(unfinished, "redraw", draw)
    for step in range(81, 181):
        append(unfinished, row_of(step))
        time.sleep(0.01)
    assert 2 <= len(drawn) <= 6  # of a hundred changes within a second or two
    assert min(np.diff(drawn)) > 0.27


@pytest.mark.parametrize(
    ("age", "said"), [(0, "about 1 min 36 s to go"), (500, "nothing new for 8 min 20 s")]
)
def test_the_sentence_tells_the_time_to_go_or_since(tmp_path, age, said):
    rows = "".join(f"{s},{2 * s}" + ",0.5" * 16 + "\n" for s in range(1, 53))  # two seconds a step
    (tmp_path / "history.csv").write_text(",".join(COLUMNS) + "\n" + rows)
    panel = widgets.watch(tmp_path, seconds=100)
    panel.run.config = mg.Config.profile("smoke", steps=100)
    os.utime(tmp_path / "history.csv", (time.time() - age,) * 2)
    assert f"step 52 of 100, {said}: target accuracy 0.50," in panel.describe()
    panel.stop()


def test_durations_are_told_in_two_units():
    told = [widgets._duration(seconds) for seconds in (0.4, 59.6, 200, 3599.7, 18_600)]
    assert told == ["0 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "5 h 10 min"]


def test_names_of_folders_are_text_not_markup(tmp_path):
    panel = opened(tmp_path / "<b>run")
    panel.stop()
    assert "&lt;b&gt;run" in panel.facts.value


CELLS = [
    """import time
import mmagan_lite as mg
from mmagan_lite import widgets
faces, config = mg.ProceduralFaces("train", 16, 32), mg.Config.profile("smoke")""",
    "widgets.watch('before')",
    """mg.Trainer(config, faces, "before").fit()
while widgets.TrainingPanel.watching:
    time.sleep(0.05)
time.sleep(0.5)""",
    """with widgets.watch("around"):
    mg.Trainer(config, faces, "around").fit()""",
]


def test_a_notebook_stores_the_picture_of_the_end(tmp_path):
    cells = [nbformat.v4.new_code_cell(code) for code in CELLS]
    nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=cells),
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    ).execute()
    for run, cell in (("before", cells[1]), ("around", cells[3])):
        (output,) = cell.outputs
        text = output["data"]["text/plain"]
        assert text.startswith(f"TrainingPanel: {run}: step 4 of 4, complete")
        assert widgets.WIDGET_VIEW in output["data"]
        stored = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
        wanted = np.asarray(widgets.watch(tmp_path / run).picture(), dtype=int)
        assert np.abs(np.asarray(stored.convert("RGB"), dtype=int) - wanted).mean() < 2


# ----------------------------------------------------------------------------------- requests


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
