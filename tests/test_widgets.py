"""Panels against editors whose effect is known by hand."""

import base64
import html.parser
import inspect
import io
import json
import os
import re
import shutil
import threading
import time

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
import traitlets
from IPython.core.formatters import DisplayFormatter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import mmagan_lite as mg
from mmagan_lite import ablation, detection, editing, plots, widgets
from mmagan_lite.training import COLUMNS
from mmagan_lite.widgets import panel as rooms
from mmagan_lite.widgets import pictures, training
from mmagan_lite.widgets.pictures import CAPTION, GAP, TILE

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
    kept_muscles.identity, kept_muscles.rho = PERSON, 1.0
    kept_muscles.show("neutral")
    return kept_muscles


@pytest.fixture
def panel(kept):
    kept.identity, kept.expression, kept.rho = PERSON, "happiness", 1.0
    return kept


def shown(panel, role):
    """One of the pictures that the browser gets, as numbers (H, W, 3)."""
    tiles = [tile for row in panel.frame["rows"] for tile in row]
    (data,) = (tile["image"] for tile in tiles if tile["role"] == role)
    return numbers(Image.open(io.BytesIO(data)))


def numbers(image):
    return np.asarray(image.convert("RGB"), dtype=int)


def large(panel, number):
    """One of the pictures where there is no kernel, by its place, as numbers (256, 256, 3)."""
    left, top = GAP + number * (TILE + GAP), GAP + CAPTION
    return numbers(panel.picture().crop((left, top, left + TILE, top + TILE)))


def drawn(expression, rho, size=64, person=PERSON):
    """A rendered face as numbers (size, size, 3)."""
    face = mg.faces.render(person, expression, rho, size=size)[0]
    return face.mul(255).round().permute(1, 2, 0).int().numpy()


def enlarged(pixels):
    image = Image.fromarray(pixels.astype(np.uint8))
    return numbers(image.resize((TILE, TILE), Image.Resampling.BICUBIC))


def kinds(panel):
    return {control["name"]: control for control in panel.controls}


@pytest.mark.parametrize(("rho", "mean"), [(0.0, "0.0"), (0.5, "1.2"), (1.0, "2.5")])
def test_sentence_gives_the_change_worked_by_hand(panel, rho, mean):
    panel.expression, panel.rho = "surprise", rho  # 40 levels x rho on 1/16: 2.5 x rho
    share = ", 0% of it where the exact answer changes" if rho else ""
    sentence = f"person 1000007, surprise, ρ = {rho}: mean change {mean} of 255 levels{share}"
    assert panel.describe() == panel.frame["text"] == sentence
    assert repr(panel) == f"ExpressionExplorer: {sentence}"


def test_change_in_the_right_place_counts_in_full():
    where = mg.faces.change_mask(PERSON, "anger", 1.0, size=64)[0].float()
    panel = widgets.explore(Lamp(where), PERSON)
    panel.expression = "anger"
    assert panel.describe().endswith("100% of it where the exact answer changes")


def test_panel_shows_input_output_answer_and_difference(panel):
    panel.expression, panel.rho = "surprise", 0.8
    roles = ("input", "output", "truth", "difference")
    before, after, answer, difference = (shown(panel, role) for role in roles)
    assert (before == drawn("neutral", 0)).all()
    assert (answer == drawn("surprise", 0.8)).all()
    assert (after - before)[:16, :16].mean() == pytest.approx(32, abs=0.5)
    after[:16, :16] = before[:16, :16]
    assert (after == before).all()
    assert np.abs(difference[:16, :16] - [255, 127.5, 127.5]).max() < 1  # half of the range
    difference[:16, :16] = 255
    assert (difference == 255).all()


def test_the_picture_without_a_page_shows_the_same_larger(panel):
    panel.expression, panel.rho = "surprise", 0.8
    for number, role in enumerate(("input", "output", "truth", "difference")):
        assert (large(panel, number) == enlarged(shown(panel, role))).all()


def test_below_them_stand_the_edits_to_each_expression(panel, lamp):
    panel.rho = 0.6
    side, top = 122, 3 * GAP + TILE + 2 * CAPTION - GAP
    face = Image.fromarray(drawn("neutral", 0).astype(np.uint8))
    for number, name in enumerate(mg.EXPRESSIONS):
        left = GAP + number * (side + GAP)
        small = panel.picture().crop((left, top, left + side, top + side))
        wanted = mg.edit(face, name, 0.6, lamp).resize((side, side), Image.Resampling.BICUBIC)
        assert (numbers(small) == numbers(wanted)).all()


def test_darker_is_blue_and_saturates():
    levels = (200, 200 - pictures.RANGE)
    before, after = (Image.new("RGB", (1, 1), (level,) * 3) for level in levels)
    assert pictures.difference(before, after).getpixel((0, 0)) == (0, 0, 255)
    black = Image.new("RGB", (1, 1))
    assert pictures.difference(before, black).getpixel((0, 0)) == (0, 0, 255)


def test_each_control_changes_the_frame(panel):
    seen = []
    for name, value in {"rho": 0.3, "expression": "fear", "identity": PERSON + 1}.items():
        seen.append(panel.frame)
        setattr(panel, name, value)
        assert panel.frame["values"] == panel.values()
        assert panel.frame["values"][name] == value
        assert panel.frame not in seen


def test_nothing_is_edited_twice(panel, lamp):
    panel.identity = PERSON + 2
    positions = [(name, step / 10) for name in ("fear", "anger") for step in range(11)]
    for again in range(2):
        before = lamp.calls
        for panel.expression, panel.rho in positions:
            pass
        assert (lamp.calls == before) == bool(again)


def test_people_are_a_hundred_beside_the_first(panel):
    person = kinds(panel)["identity"]
    assert person["options"] == [*range(1_000_000, 1_000_100)]
    assert person["next"] == "Next person"


@pytest.mark.parametrize(("kind", "count"), [("panel", 4), ("muscles", 4)])
def test_every_control_has_a_label_and_a_kind_that_the_page_knows(request, kind, count):
    script = (rooms.HERE / "panel.js").read_text()
    known = re.findall(r"^  (\w+)\(.*\) \{", script.split("const CONTROLS = {")[1], re.MULTILINE)
    found = [c for c in request.getfixturevalue(kind).controls if c["kind"] != "hidden"]
    assert len({control["label"] for control in found}) == count
    assert {control["kind"] for control in found} <= {*known}
    for control in found:
        assert len(control.get("options", [])) == len(control.get("texts", []))


@pytest.mark.parametrize("kind", ["panel", "muscles"])
def test_pages_without_a_kernel_get_picture_and_text(request, kind):
    panel = request.getfixturevalue(kind)
    data, _ = DisplayFormatter().format(panel)
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.size == panel.picture().size
    error = numbers(picture) - numbers(panel.picture())
    assert np.abs(error).mean() < 2  # a palette of 256 colours
    assert data["text/plain"] == repr(panel)
    assert data[rooms.WIDGET_VIEW]["model_id"] == panel.model_id


def test_the_packages_model_is_the_default(monkeypatch, lamp):
    monkeypatch.setattr(editing, "default_model", lambda: lamp)
    assert widgets.explore().model is widgets.strip().model is lamp


def test_a_strip_shows_all_strengths(lamp):
    strip = widgets.strip(lamp, PERSON)
    strip.expression = "fear"
    rho = kinds(strip)["rho"]
    assert (rho["kind"], rho["pictured"], len(rho["options"])) == ("choice", "output", 11)
    assert rho["texts"][3] == "0.3"
    face, side = Image.fromarray(drawn("neutral", 0).astype(np.uint8)), 86
    picture, top = strip.picture(), 2 * (GAP + CAPTION) + TILE
    for number, value in enumerate(np.linspace(0, 1, 11)):
        left = GAP + number * (side + GAP)
        small = picture.crop((left, top, left + side, top + side))
        wanted = mg.edit(face, "fear", float(value), lamp).resize((side, side), 3)
        assert (numbers(small) == numbers(wanted)).all()


# -------------------------------------------------------------------------------- photographs


@pytest.fixture(scope="module")
def astronaut():
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def couple(astronaut):
    """The astronaut, and to her right herself in a mirror."""
    both = Image.new("RGB", (1024, 512))
    both.paste(astronaut, (0, 0))
    both.paste(astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
    return both


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


class Page:
    """What a browser would see of a panel, and what it tells the panel."""

    def __init__(self, panel, monkeypatch):
        self.panel, self.messages = panel, []
        monkeypatch.setattr(panel, "send", self._take)

    def _take(self, message, buffers=()):
        self.messages.append((message, list(buffers)))

    def tell(self, kind, buffers=(), **more):
        data = {"method": "custom", "content": {"kind": kind, "values": {}} | more}
        self.panel._handle_msg({"content": {"data": data}, "buffers": list(buffers)})

    def upload(self, name, data):
        self.tell("picture", [memoryview(data)], name="photo", file=name)

    def frames(self):
        """Of each position, what came since the last order to forget."""
        kinds = [message["kind"] for message, _ in self.messages]
        start = len(kinds) - kinds[::-1].index("forget") if "forget" in kinds else 0
        return [(m["frame"], images) for m, images in self.messages[start:]]

    def positions(self):
        return [frame["values"] for frame, _ in self.frames()]


def test_a_photograph_is_edited_without_an_exact_answer(lamp, astronaut):
    panel = widgets.explore(lamp, photo=np.asarray(astronaut))
    start = "photograph, face 1, happiness, ρ = 1.0: mean change 2.5 of 255 levels. These weights"
    assert panel.describe().startswith(start)
    roles = [tile["role"] for tile in panel.frame["rows"][0]]
    assert roles == ["input", "output", "difference", "photograph"]
    crop = detection.align(astronaut, detection.find_face(astronaut), 256)[0]
    assert (shown(panel, "input") == numbers(crop)).all()
    assert (shown(panel, "difference")[80:] == 255).all()
    change = shown(panel, "photograph") - numbers(astronaut)
    assert 30 < change.max() < 50  # 40, and a little more beside the edge, where it is enlarged
    assert change.min() > -10
    assert (change != 0).any(-1).mean() < 0.1  # a corner of the face's square


def test_a_photograph_without_a_face_is_refused(lamp):
    with pytest.raises(ValueError, match="No face was found"):
        widgets.explore(lamp, photo=Image.new("RGB", (200, 200), "white"))


def test_an_uploaded_photograph_is_edited(lamp, astronaut, monkeypatch):
    panel = widgets.explore(lamp, PERSON)
    assert "face" not in {c["name"] for c in panel.controls if c["kind"] != "hidden"}
    Page(panel, monkeypatch).upload("me.jpg", jpeg(astronaut))
    assert panel.problem == ""
    assert (panel.face, kinds(panel)["face"]["texts"]) == (1, ["drawn person", "face 1"])
    photo = Image.open(io.BytesIO(jpeg(astronaut)))
    crop = detection.align(photo, detection.find_face(photo), 256)[0]
    assert (shown(panel, "input") == numbers(crop)).all()
    panel.face = 0
    assert (shown(panel, "input") == drawn("neutral", 0)).all()


def test_one_of_several_faces_is_chosen(lamp, astronaut, couple, monkeypatch):
    panel = widgets.explore(lamp, PERSON)
    Page(panel, monkeypatch).upload("us.jpg", jpeg(couple))
    face = kinds(panel)["face"]
    assert (face["kind"], face["texts"]) == ("choice", ["drawn person", "face 1", "face 2"])
    crops = [
        numbers(detection.align(alone, detection.find_face(alone), 256)[0])
        for alone in (astronaut, astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    ]
    for panel.face in (1, 2):
        errors = [np.abs(shown(panel, "input") - crop).mean() for crop in crops]
        assert errors[panel.face - 1] < errors[2 - panel.face] / 3
        change = shown(panel, "photograph") - numbers(couple.resize((640, 320), 1))
        left, right = (np.abs(half).mean() for half in np.split(change, 2, axis=1))
        assert (left > right) == (panel.face == 1)
    panel.face = 1
    with pytest.raises(ValueError, match="There is no face 3, the photograph has 2"):
        panel.face = 3
    assert panel.face == 1


def test_there_is_no_face_without_a_photograph(panel):
    with pytest.raises(ValueError, match="There is no face 1, there is no photograph"):
        panel.face = 1
    assert panel.face == 0


@pytest.mark.parametrize("what", ["white", "broken", "nonsense", "empty"])
def test_what_cannot_be_edited_is_told_by_name(lamp, astronaut, what, monkeypatch):
    data = {
        "white": jpeg(Image.new("RGB", (200, 200), "white")), "nonsense": b"This is no picture.",
        "broken": jpeg(astronaut)[:300], "empty": b"",
    }[what]  # fmt: skip
    panel = widgets.explore(lamp, PERSON)
    page, before, told = Page(panel, monkeypatch), panel.frame, []
    panel.observe(lambda change: told.append(change["new"]), "problem")
    page.upload(f"{what}.jpg", data)
    assert re.fullmatch(rf"{what}\.jpg: [^\n]+\.", panel.problem)
    assert (panel.face, panel.photo, panel.frame) == (0, None, before)
    assert not page.messages
    page.upload(f"{what}.jpg", data)
    assert [bool(sentence) for sentence in told] == [True, False, True]  # told again
    panel.rho = 0.4
    assert panel.problem == ""


def test_a_move_that_comes_after_the_upload_it_preceded_clears_nothing(lamp, monkeypatch):
    panel = widgets.explore(lamp, PERSON)
    page = Page(panel, monkeypatch)
    page.tell("picture", [b"no picture"], name="photo", file="x.jpg", values={"rho": 0.4})
    assert panel.rho == 0.4
    panel.rho = 0.4
    assert panel.problem.startswith("x.jpg: ")
    gone = {"face": 2, "rho": 0.6}  # of a photograph that another upload has replaced
    page.tell("picture", [b"no picture"], name="photo", file="y.jpg", values=gone)
    assert (panel.face, panel.rho) == (0, 0.6)
    assert panel.problem.startswith("y.jpg: ")


def test_the_photograph_before_is_forgotten(lamp, astronaut, monkeypatch):
    monkeypatch.setattr(rooms, "PAUSE", 0.0)
    quick, portrait = editing.edit, astronaut.crop((120, 0, 320, 200))
    slow, begun = threading.Event(), threading.Event()

    def edit(*arguments):
        if slow.is_set():
            slow.clear()
            begun.set()
            time.sleep(1)  # meanwhile, the second photograph arrives
        return quick(*arguments)

    monkeypatch.setattr(editing, "edit", edit)
    panel = widgets.explore(lamp, PERSON)
    page = Page(panel, monkeypatch)
    page.upload("first.jpg", jpeg(portrait))
    first = shown(panel, "input")
    page.tell("view")
    until(lambda: len(page.frames()) > 3)
    slow.set()
    begun.wait(20)
    page.upload("second.jpg", jpeg(portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    until(lambda: len(page.frames()) == 88, 60)
    wanted = shown(panel, "input")
    assert (wanted != first).any()
    face = Image.fromarray(wanted.astype(np.uint8))
    for frame, images in page.frames():
        tiles = {tile["role"]: images[tile["image"]] for tile in frame["rows"][0]}
        before, after = (numbers(Image.open(io.BytesIO(tiles[r]))) for r in ("input", "output"))
        edited = quick(face, frame["values"]["expression"], frame["values"]["rho"], lamp)
        assert (before == wanted).all()
        assert (after == numbers(edited)).all()
    panel.close()


# ------------------------------------------------------------------------------------- messages


class Dial(rooms.Panel):
    """A panel whose one picture has the colour (turn, person, 0)."""

    title = "Dial </title>"
    turn = traitlets.Int(0).tag(sync=True)
    person = traitlets.Int(0).tag(sync=True)

    def __init__(self, turns=6, seconds=0.0):
        self.turns, self.seconds, self.composed, self.bad = turns, seconds, [], set()
        super().__init__(
            [
                rooms.choice("turn", "Turn", range(turns), pictured="colour"),
                rooms.slider("person", "Person", range(5), next="Next"),
            ]
        )

    def compose(self, values):
        turn, person = values["turn"], values["person"]
        self.composed.append((turn, person))
        time.sleep(self.seconds)
        if turn in self.bad:
            raise ValueError(f"No turn {turn}.")
        colour = Image.new("RGB", (8, 8), (40 * turn, 50 * person, 0))
        tile = rooms.Tile("colour", f"turn {turn}", colour)
        return rooms.Frame([[tile]], f"turn {turn} </script><script>alert(1)</script>")

    def ahead(self):
        yield self.values()  # and once more:
        yield from (self.values() | {"turn": turn} for turn in range(self.turns))


@pytest.fixture
def dial(monkeypatch):
    monkeypatch.setattr(rooms, "PAUSE", 0.02)
    panel = Dial()
    yield panel
    panel.close()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def at(person, turns=6):
    return [{"turn": turn, "person": person} for turn in range(turns)]


def test_a_view_gets_every_position_ahead_once(dial, monkeypatch):
    page, progress = Page(dial, monkeypatch), []
    dial.observe(lambda change: progress.append(change["new"]), "progress")
    time.sleep(0.1)
    assert not page.messages  # nobody looks
    page.tell("view")
    until(lambda: dial.progress == 1 and len(page.messages) >= 6)
    time.sleep(0.1)
    assert page.positions() == at(0)
    assert progress == [0, pytest.approx(4 / 6), 1]
    for frame, images in page.frames():
        ((tile,),) = frame["rows"]
        colour = Image.open(io.BytesIO(images[tile["image"]])).getpixel((0, 0))
        assert colour == (40 * frame["values"]["turn"], 0, 0)
        assert frame["text"].startswith(f"turn {frame['values']['turn']} ")


def test_the_bar_is_there_before_the_first_picture(dial, monkeypatch):
    monkeypatch.setattr(rooms, "PAUSE", 1.0)
    page = Page(dial, monkeypatch)
    page.tell("view")
    until(lambda: dial.progress == 0)
    assert not page.messages
    until(lambda: dial.progress == 1)


def test_what_the_browser_has_is_not_made_again(dial, monkeypatch):
    page = Page(dial, monkeypatch)
    page.tell("view")
    until(lambda: len(page.messages) == 6 and dial.progress == 1)
    count = len(dial.composed)
    for dial.turn in (3, 5, 0):
        pass
    time.sleep(0.2)
    assert len(dial.composed) == count
    assert len(page.messages) == 6
    dial.person = 2
    assert dial.frame["values"] == {"turn": 0, "person": 2}  # at once, without preparation
    until(lambda: len(page.messages) == 12)
    assert page.positions()[6:] == at(2)
    dial.person = 0
    time.sleep(0.2)
    assert len(page.messages) == 12
    assert dial.progress == 1


def test_a_second_view_gets_everything_again(dial, monkeypatch):
    page = Page(dial, monkeypatch)
    page.tell("view")
    until(lambda: len(page.messages) == 6 and dial.progress == 1)
    dial.turn = 4  # the first view has it
    assert dial.frame["values"]["turn"] == 0
    page.tell("view")
    assert dial.frame["values"]["turn"] == 4  # the second has nothing else yet
    until(lambda: len(page.messages) == 12)
    assert sorted(p["turn"] for p in page.positions()[6:]) == [*range(6)]


def test_while_someone_moves_nothing_is_prepared(dial, monkeypatch):
    monkeypatch.setattr(rooms, "PAUSE", 0.6)
    page = Page(dial, monkeypatch)
    page.tell("view")
    for step in range(12):
        dial.turn = step % 6
        time.sleep(0.02)
    assert not page.messages
    until(lambda: len(page.messages) == 6)


def test_preparation_starts_again_for_another_person(monkeypatch):
    monkeypatch.setattr(rooms, "PAUSE", 0.0)
    dial = Dial(turns=40, seconds=0.005)
    page = Page(dial, monkeypatch)
    page.tell("view")
    until(lambda: len(page.messages) > 2)
    dial.person = 1
    until(lambda: dial.progress == 1 and page.positions()[-1]["person"] == 1)
    first = [p for p in page.positions() if p["person"] == 0]
    assert len(first) < 40
    assert page.positions()[len(first) :] == at(1, 40)
    dial.close()


def test_a_browser_keeps_no_more_than_it_can(dial, monkeypatch):
    monkeypatch.setattr(rooms, "KEPT", 8)
    page = Page(dial, monkeypatch)
    page.tell("view")
    until(lambda: len(page.messages) == 6)
    dial.person = 1
    until(lambda: "forget" in [message["kind"] for message, _ in page.messages])
    until(lambda: len(page.frames()) == 6)
    assert sorted(p["turn"] for p in page.positions()) == [*range(6)]
    assert {p["person"] for p in page.positions()} == {1}
    until(lambda: dial.frame)
    assert dial.frame["values"] == dial.values()


def test_the_same_frame_is_told_again_after_forgetting(dial):
    told = []
    dial.observe(lambda change: told.append(change["new"]), "frame")
    dial.redraw()
    assert not told
    before = dial.frame
    dial.forget()
    dial.redraw()
    assert told == [{}, before]


def test_what_fails_ahead_is_told_and_cleared(dial, monkeypatch):
    dial.bad = {2}
    page = Page(dial, monkeypatch)
    page.tell("view")
    until(lambda: dial.problem == "Pictures could not be prepared: No turn 2.")
    assert dial.progress == 1  # no bar that stands still
    dial.bad = set()
    dial.problem = "Pictures could not be prepared: No turn 2."
    page.tell("view")
    until(lambda: dial.problem == "")
    until(lambda: len(page.messages) == 8)


def test_preparation_leaves_other_problems_alone(dial, monkeypatch):
    page = Page(dial, monkeypatch)
    monkeypatch.setattr(dial, "received", lambda *_: 1 / 0)
    page.tell("view")
    page.tell("picture", [b""], name="photo", file="x")
    until(lambda: len(page.messages) == 6)
    time.sleep(0.1)
    assert dial.problem == "division by zero"
    dial.turn = 3  # the browser has it
    assert dial.problem == ""


def test_what_fails_ahead_does_not_replace_what_was_told(dial, monkeypatch):
    dial.bad = {2}
    with pytest.raises(ValueError, match=r"No turn 2\."):
        dial.turn = 2
    tried = len(dial.composed)
    Page(dial, monkeypatch).tell("view")
    until(lambda: len(dial.composed) >= tried + 2)  # for the view, and ahead
    time.sleep(0.1)
    assert dial.problem == "No turn 2."
    dial.bad = set()
    dial.turn = 3
    assert dial.problem == ""


def test_what_cannot_be_drawn_is_told_and_cleared(dial):
    dial.bad = {2}
    with pytest.raises(ValueError, match=r"No turn 2\."):
        dial.turn = 2
    assert dial.problem == "No turn 2."
    dial.turn = 3
    assert dial.problem == ""


def test_the_thread_ends_with_the_panel(dial, monkeypatch):
    Page(dial, monkeypatch).tell("view")
    dial.close()
    dial._worker.join(5)
    assert not dial._worker.is_alive()


# ----------------------------------------------------------------------------------- pages alone


class Parsed(html.parser.HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.inside, self.current = [], {}, None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.current = tag

    def handle_data(self, data):
        self.inside.setdefault(self.current, []).append(data)

    def handle_endtag(self, tag):
        self.current = None

    def page(self):
        (script,) = self.inside["script"]
        (line,) = re.findall(r"^const page = (.*);$", script, re.MULTILINE)
        return json.loads(line)


def stored(page, frame, role):
    tile = next(t for row in frame["rows"] for t in row if t["role"] == role)
    kind, data = page["images"][tile["image"]].split(",")
    assert kind == "data:image/webp;base64"
    return numbers(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_page_holds_every_position_and_shows_the_same(tmp_path, panel):
    panel.rho = 0.8
    strengths, people = [0.0, 0.8], [PERSON, PERSON + 3]
    path = panel.export(tmp_path / "new" / "page.html", rho=strengths, identity=people)
    assert path == tmp_path / "new" / "page.html"
    page = Parsed(path).page()
    frames = page["traits"]["prepared"]
    positions = [tuple(frame["values"][n] for n in page["traits"]["names"]) for frame in frames]
    assert len({*positions}) == len(frames) == 2 * 8 * 2
    assert {f["values"]["expression"] for f in frames} == {*mg.EXPRESSIONS}
    now = [page["traits"][name] for name in page["traits"]["names"]]
    assert now == [getattr(panel, name) for name in page["traits"]["names"]]
    for frame in frames[::5]:
        for name, value in frame["values"].items():
            setattr(panel, name, value)
        assert frame["text"] == panel.describe()
        for role in ("input", "output", "truth", "difference"):
            error = stored(page, frame, role) - shown(panel, role)
            assert np.abs(error).mean() < 4


def test_a_page_needs_nothing_else(tmp_path, panel):
    page = Parsed(panel.export(tmp_path / "page.html", rho=[1.0], identity=[PERSON]))
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "base"}
    assert not [a for _, attributes in page.tags for a in attributes if a in ("src", "href")]
    assert [tag for tag, _ in page.tags].count("script") == 1
    (script,), (style,) = page.inside["script"], page.inside["style"]
    code = script.replace(re.search(r"^const page = .*;$", script, re.MULTILINE)[0], "")
    code = re.sub(r"(^|\s)//.*", "", code)  # comments
    assert not re.search(r"https?:|//|\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket", code)
    assert not re.search(r"url\(|@import|//", style)
    images = page.page()["images"]
    assert all(image.startswith("data:image/webp;base64,") for image in images)


def test_what_has_one_value_needs_no_control(tmp_path, dial):
    page = Parsed(dial.export(tmp_path / "page.html", person=[3])).page()
    kinds = {control["name"]: control["kind"] for control in page["traits"]["controls"]}
    assert kinds == {"turn": "choice", "person": "hidden"}
    assert [f["values"] for f in page["traits"]["prepared"]] == at(3)


@pytest.mark.parametrize(("person", "offered"), [(0, [0, 1, 2]), (4, [4, 0, 1]), (9, [0, 1, 2])])
def test_a_page_has_three_people_unless_told_otherwise(tmp_path, dial, person, offered):
    dial.person = person  # 9 is not in the list
    page = Parsed(dial.export(tmp_path / "page.html")).page()
    assert page["traits"]["controls"][1]["options"] == offered
    assert len(page["traits"]["prepared"]) == 3 * 6


def test_no_text_can_end_the_script(tmp_path, dial):
    page = Parsed(dial.export(tmp_path / "page.html"))
    assert [tag for tag, _ in page.tags].count("script") == 1
    frames = page.page()["traits"]["prepared"]
    assert frames[0]["text"] == "turn 0 </script><script>alert(1)</script>"
    assert page.inside["title"] == ["Dial </title>"]


def test_muscles_are_exported_as_expressions(tmp_path, muscles):
    path = muscles.export(tmp_path / "page.html", rho=[0.0, 1.0], identity=[PERSON])
    page = Parsed(path).page()
    assert [c["kind"] for c in page["traits"]["controls"]] == ["hidden", "presets", "slider"]
    frames = page["traits"]["prepared"]
    assert len(frames) == 8 * 2
    fear = frames[2 * mg.EXPRESSIONS.index("fear") + 1]
    error = stored(page, fear, "output") - drawn("fear", 1.0, 128)
    assert np.abs(error).mean() < 4


@pytest.mark.parametrize("asked", [{"size": [1]}, {"person": []}, {"start": [1]}])
def test_a_page_is_asked_for_controls_that_it_has(tmp_path, dial, asked):
    with pytest.raises(ValueError, match=r"values for its controls \(person, turn\)"):
        dial.export(tmp_path / "page.html", **asked)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("taken", ["a/page.html", "page.html"])
def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path, dial, taken):
    if taken == "page.html":
        (tmp_path / "page.html").mkdir()
    else:
        (tmp_path / "a").write_text("a file, not a folder")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="Could not write"):
        dial.export(tmp_path / taken, person=[0])
    assert sorted(tmp_path.rglob("*")) == before


def test_sentences_are_text_not_markup():
    script = (rooms.HERE / "panel.js").read_text()
    assert "textContent" in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", script)


# ------------------------------------------------------------------------------------- attention


@pytest.fixture(scope="module")
def seer():
    torch.manual_seed(5)
    return mg.Generator(mg.Config.profile("laptop")).eval()  # two blocks, 64 pixels


@pytest.fixture(scope="module")
def inspected(seer):
    return widgets.attention(seer, PERSON)


@pytest.fixture
def inspector(inspected):
    inspected.block, inspected.expression, inspected.rho = 1, "happiness", 1.0
    return inspected


def looked_at(model, expression, rho):
    """What a generator attends to, of a picture of 8 bits."""
    x = torch.from_numpy(drawn("neutral", 0)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        return model(x, mg.encode(expression, rho)[None], return_attention=True)


@pytest.mark.parametrize("block", [1, 2])
def test_the_maps_are_those_of_the_generator(inspector, seer, block, monkeypatch):
    seen = {}
    heat, bars = pictures.heat, pictures.bars
    note = lambda key, value: seen.update({key: value})  # noqa: E731
    monkeypatch.setattr(pictures, "heat", lambda w, f: note("map", w) or heat(w, f))
    monkeypatch.setattr(pictures, "bars", lambda v: note("channels", v) or bars(v))
    inspector.block, inspector.expression, inspector.rho = block, "surprise", 0.7
    inspector.redraw()
    y, maps = looked_at(seer, "surprise", 0.7)
    channel, spatial = maps[block - 1]
    assert torch.allclose(seen["map"], spatial[0, 0], atol=1e-5)
    assert torch.allclose(torch.tensor(seen["channels"]), channel[0].flatten(), atol=1e-5)
    wanted = y[0].clamp(-1, 1).add(1).mul(127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(shown(inspector, "output") - wanted).max() <= 1
    captions = [tile["caption"] for row in inspector.frame["rows"] for tile in row]
    low, high = spatial.min(), spatial.max()
    assert captions[2] == f"spatial map, dark {low:.2f}, bright {high:.2f}"
    assert captions[-1].startswith(f"channel attention of MMARM {block}: weights of 64 channels")


@pytest.mark.parametrize("block", [1, 2])
def test_the_sentence_counts_the_pairs(inspector, seer, block):
    inspector.block, inspector.expression = block, "fear"
    weights = looked_at(seer, "fear", 1.0)[1][block - 1].spatial[0, 0].numpy()  # (16, 16)
    mask = mg.faces.change_mask(PERSON, "fear", 1.0, size=64)[0].numpy()
    inside = mask.reshape(16, 4, 16, 4).mean((1, 3)) > 0.5
    won = [(a > b) + (a == b) / 2 for a in weights[inside] for b in weights[~inside]]
    chance = f"in {sum(won) / len(won):.0%} of the pairs"
    assert inspector.describe().startswith(f"person {PERSON}, fear, ρ = 1.0: a place that changes")
    assert f"a larger weight in MMARM {block} than one that stays {chance} " in inspector.describe()


def test_without_a_change_there_was_nothing_to_find(inspector):
    inspector.rho = 0
    assert inspector.describe().endswith("nothing that MMARM 1 had to find")
    assert (np.ptp(shown(inspector, "mask"), axis=-1) == 0).all()  # grey all over


def test_what_changes_is_marked(inspector):
    inspector.expression, inspector.rho = "disgust", 0.6
    mask = mg.faces.change_mask(PERSON, "disgust", 0.6, size=64)[0].numpy()
    assert ((np.ptp(shown(inspector, "mask"), axis=-1) > 0) == mask).all()


def test_each_block_has_a_small_map(inspector):
    block = kinds(inspector)["block"]
    assert (block["options"], block["pictured"]) == ([1, 2], "map")
    ahead = [(v["block"], v["expression"], v["rho"]) for v in inspector.ahead()]
    assert ahead[:2] == [(1, "happiness", 1.0), (2, "happiness", 1.0)]
    assert len({*ahead}) == 2 * 8 * 11
    with pytest.raises(ValueError, match=r"There is no block 3; give 1 to 2\."):
        inspector.block = 3
    assert inspector.block == 1


def test_the_default_generator_is_inspected(monkeypatch, seer):
    monkeypatch.setattr(editing, "default_model", lambda: seer)
    assert widgets.attention().model is seer


@pytest.mark.parametrize("kind", ["no blocks", "StarGAN"])
def test_without_attention_there_is_one_sentence(kind, lamp):
    plain = mg.Generator(mg.Config.profile("laptop", mmarm=False))
    model = plain if kind == "no blocks" else mg.load_pretrained("stargan-64")
    with pytest.raises(ValueError, match="This generator has no attention to show; give one"):
        widgets.attention(model)


# ------------------------------------------------------------------------------------ comparison


class Brighter(torch.nn.Module):
    """An editor that adds some levels everywhere."""

    def __init__(self, levels, size=64):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.levels, self.config = levels, mg.Config.profile("laptop", image_size=size)

    def forward(self, x, z):
        return x + self.levels / 127.5


@pytest.fixture
def grey(monkeypatch):
    """Everybody is grey: 100 levels at rest, 20 more at any strength above 0."""
    monkeypatch.setattr(
        pictures,
        "drawn",
        lambda person, expression, rho, size: [
            Image.new("RGB", (size, size), (120 if r else 100,) * 3) for r in rho
        ],
    )


def test_captions_tell_the_error_removed_worked_by_hand(grey):
    editors = {str(levels): Brighter(levels) for levels in (0, 10, 20, 40, 50, -10)}
    panel = widgets.compare(editors, PERSON)
    first, tiles = panel.frame["rows"]
    assert [tile["caption"] for tile in first] == ["input", "exact answer"]
    removed = {"0": "+0.00", "10": "+0.75", "20": "+1.00", "40": "+0.00", "50": "−1.25"}
    removed["-10"] = "−1.25"  # 1 - 30² / 20²
    assert [tile["caption"] for tile in tiles] == [f"{k}: {v}" for k, v in removed.items()]
    assert (shown(panel, "50") == 150).all()
    start = f"person {PERSON}, happiness, ρ = 1.0: nearest to the exact answer: 20; 2 of 6 come "
    assert panel.describe().startswith(start)
    panel.rho = 0
    assert [tile["caption"] for tile in panel.frame["rows"][1]][1] == "10: no error"
    assert panel.describe().endswith(
        "the exact answer is the input, so there is no error to remove"
    )


def test_compared_are_the_renderers_faces(lamp):
    panel = widgets.compare({"lamp": lamp}, PERSON)
    panel.expression, panel.rho = "anger", 0.5
    assert (shown(panel, "input") == drawn("neutral", 0)).all()
    assert (shown(panel, "truth") == drawn("anger", 0.5)).all()
    change = shown(panel, "lamp") - drawn("neutral", 0)
    assert change[:16, :16].mean() == pytest.approx(20, abs=0.5)
    assert (change[16:] == 0).all()


@pytest.mark.parametrize(("sizes", "got"), [((64, 32), r"\[32, 64\]"), ((), "no model")])
def test_models_of_different_sizes_are_not_compared(sizes, got):
    models = {str(size): Brighter(0, size) for size in sizes}
    with pytest.raises(ValueError, match=f"images of one size; got {got}"):
        widgets.compare(models)


def test_the_rows_of_the_ablation_are_compared_by_default():
    panel = widgets.compare()
    labels = ablation.LABELS
    assert [*panel.models] == [*labels.values()]
    assert [t["role"] for t in panel.frame["rows"][1]] == [*labels.values()]
    mmarm = {name: model.config.mmarm for name, model in panel.models.items()}
    assert mmarm[labels["mmagan"]]
    assert not mmarm[labels["no-attention"]]
    assert not panel.models[labels["no-residual"]].config.global_residual
    assert panel.models[labels["stargan"]].config.model == "stargan"
    assert panel.models[labels["paper-losses"]].config.losses == "paper"


# --------------------------------------------------------------------------------------- muscles


@pytest.mark.parametrize("name", mg.EXPRESSIONS)
def test_units_at_a_prototype_make_the_face_of_that_name(muscles, name):
    start = dict(kinds(muscles)["start"]["presets"])
    muscles.units, muscles.rho = start[name]["units"], 0.6
    assert (shown(muscles, "input") == drawn("neutral", 0, 128)).all()
    assert (shown(muscles, "output") == drawn(name, 0.6, 128)).all()
    mask = mg.faces.change_mask(PERSON, name, 0.6)[0]
    assert (shown(muscles, "mask") == 255 * ~mask.numpy()[..., None]).all()
    assert f": {mask.float().mean():.0%} of the pixels change" in muscles.describe()
    assert muscles.nearest() == (name, pytest.approx(float(name != "neutral")))


def test_every_unit_has_a_slider_that_moves_its_own_muscle(muscles):
    sliders = kinds(muscles)["units"]
    labels = dict(pair for _, group in sliders["groups"] for pair in group)
    assert sorted(labels) == sorted(muscles.units) == sorted(mg.faces.ACTION_UNITS)
    assert sliders["options"][-1] == 1.5
    for unit, label in labels.items():
        muscles.units = {unit: 1.5}
        assert [u for u, strength in muscles.units.items() if strength] == [unit]
        assert label.split()[0] == unit
        assert (shown(muscles, "output") == drawn({unit: 1.5}, 1.0, 128)).all()


def test_muscles_follow_unit_person_and_strength(muscles):
    seen = [muscles.frame]
    changes = {"units": muscles.units | {"12R": 0.8}, "identity": PERSON + 1, "rho": 0.5}
    for name, value in changes.items():
        setattr(muscles, name, value)
        assert muscles.frame not in seen
        seen.append(muscles.frame)
    assert (shown(muscles, "output") == drawn({"12R": 0.8}, 0.5, 128, PERSON + 1)).all()
    assert (large(muscles, 1) == enlarged(shown(muscles, "output"))).all()
    assert muscles.frame["text"] == muscles.describe()


def test_positions_of_the_sliders_are_those_of_the_prototypes(muscles):
    """Else the browser would not find the frame that was prepared for a preset."""
    places = kinds(muscles)["units"]["options"]
    for _, values in kinds(muscles)["start"]["presets"]:
        assert {*values["units"].values()} <= {*places}
        muscles.units = json.loads(json.dumps(values["units"]))
        assert muscles.units == values["units"]


def test_the_sentence_about_muscles_joins_equal_sides(muscles):
    muscles.show({6: 1, 12: 1, "25": 0.9})
    start = f"person {PERSON}, units 6 1.00, 12 1.00, 25 0.90 at ρ = 1.00: "
    assert muscles.describe().startswith(start)
    muscles.units = muscles.units | {"12L": 0.25}
    assert ", units 6 1.00, 12L 0.25, 12R 1.00, 25 0.90 at" in muscles.describe()
    muscles.show({})
    sentence = "no units at ρ = 1.00: 0% of the pixels change, most like neutral"
    assert muscles.describe() == f"person {PERSON}, {sentence}"


def test_likeness_is_the_cosine_worked_by_hand(muscles):
    muscles.show({27: 1, 43: 1})  # surprise: 1, 2L, 2R, 5, 25, 27; one of two in common
    assert muscles.nearest() == ("surprise", pytest.approx(1 / (2**0.5 * 6**0.5)))
    muscles.rho = 0.2  # shorter, but in the same direction
    assert muscles.describe().endswith("most like surprise (cosine 0.29)")
    muscles.rho = 0
    assert muscles.describe().endswith("0% of the pixels change, most like neutral")


def test_unknown_expressions_and_units_move_no_muscle(muscles):
    muscles.show("anger")
    before = muscles.describe()
    for wrong in ("joy", {99: 1.0}, {12: 2.0}):
        with pytest.raises(ValueError, match=r"Unknown|from 0 to 1\.5"):
            muscles.show(wrong)
    with pytest.raises(ValueError, match="Unknown"):
        muscles.units = {"99": 1.0}
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


def row_of(step):
    return f"{step},9" + ",0.5" * 16 + "\n"


def test_a_training_panel_shows_the_curves_and_the_newest_faces(complete):
    picture = opened(complete.folder).picture()
    assert picture.width == 1000 + 2 * GAP
    canvas = FigureCanvasAgg(Figure((plots.WIDTH, 5.2), dpi=100, layout="constrained"))
    plots.history(pd.read_csv(complete.folder / "history.csv"), canvas.figure)
    canvas.draw()
    curves = picture.crop((GAP, GAP, 1000 + GAP, 520 + GAP))
    assert np.array_equal(curves, np.asarray(canvas.buffer_rgba())[..., :3])
    side = (1000 + GAP) // 9 - GAP
    top = 520 + 2 * GAP + CAPTION
    for number in range(9):
        left = GAP + number * (side + GAP)
        shown = picture.crop((left, top, left + side, top + side)).resize((32, 32))
        made = complete.sample_grid()[1:33, 1 + 33 * number : 33 + 33 * number]
        assert np.abs(np.asarray(shown, dtype=int) - made).mean() < 6  # enlarged and back


def test_the_sentence_of_a_training_panel_gives_the_last_means(complete):
    last = complete.history[-2:]  # a fiftieth of 100 steps
    mean = {key: sum(row[key] for row in last) / 2 for key in training.SUMMARY}
    panel = opened(complete.folder)
    gap = f"{mean['gap']:z.2f}".replace("-", "−")
    assert panel.describe() == panel.frame["text"]
    assert panel.describe() == (
        f"{complete.folder}: step 80 of 80, complete: "
        f"target accuracy {mean['accuracy_fake']:.2f}, "
        f"accuracy on real faces {mean['accuracy_real']:.2f}, score gap {gap}, "
        f"intensity loss (6) {mean['generator_rho']:.2f}, "
        f"mean |G(x, z) − x| {mean['change']:.2f}, faces of step 80"
    )
    assert panel.progress == 1
    assert panel.ended
    assert not panel.controls


@pytest.mark.parametrize("count", [2, 3])
def test_faces_of_another_set_of_expressions_are_numbered(count, monkeypatch):
    shown = {}
    monkeypatch.setattr(pictures, "row", lambda faces, side: shown.update(faces))
    training._first_person(Image.new("RGB", (count * 65 + 1, 2 * 65 + 1)), 1000)
    assert list(shown) == ["input", "edit 1", "edit 2"][:count]
    assert all(face.size == (64, 64) for face in shown.values())


@pytest.fixture
def no_curves(monkeypatch):
    """Curves that are drawn in no time; panels rest nine times as long as they draw."""
    monkeypatch.setattr(plots, "history", lambda rows, figure: None)


@pytest.mark.usefixtures("no_curves")
def test_the_panel_follows_a_run_that_starts_later_and_ends_with_it(tmp_path, faces32):
    panel = opened(tmp_path / "run")
    assert "There is no folder" in panel.frame["text"]
    assert panel.picture().size == (1000 + 2 * GAP, 1 + CAPTION + 2 * GAP)
    trainer = mg.Trainer(mg.Config.profile("smoke"), faces32, tmp_path / "run").fit(steps=2)
    until(lambda: "step 2 of 4" in panel.frame["text"])
    until(lambda: panel.progress == pytest.approx(4 / 6))  # the warm-up has two steps
    assert not panel.ended
    trainer.fit()
    until(lambda: panel.ended)
    assert "step 4 of 4, complete" in panel.frame["text"]
    assert panel.progress == 1
    curves, faces = (shown(panel, role) for role in ("curves", "faces"))
    assert (numbers(panel.picture())[GAP : GAP + 520, GAP : GAP + 1000] == curves).all()
    assert (
        numbers(panel.picture())[2 * GAP + 520 : -GAP, GAP : GAP + faces.shape[1]] == faces
    ).all()
    panel._thread.join(5)
    assert not panel._thread.is_alive()
    assert panel.run.folder not in panel.watching


@pytest.mark.usefixtures("no_curves")
def test_the_button_stops_watching_and_nothing_else(tmp_path, faces32):
    trainer = mg.Trainer(mg.Config.profile("smoke"), faces32, tmp_path / "run").fit(steps=2)
    panel = opened(trainer.folder)
    assert [(c["kind"], c["label"]) for c in panel.controls] == [("button", "Stop watching")]
    message = {"method": "custom", "content": {"kind": "press", "name": "stop", "values": {}}}
    panel._handle_msg({"content": {"data": message}, "buffers": []})
    assert panel.ended
    assert not panel.controls
    assert not panel._thread.is_alive()
    before = panel.frame
    trainer.fit()
    time.sleep(0.1)
    assert panel.frame == before
    assert "step 4 of 4, complete" in opened(trainer.folder).describe()  # the cell, run again


@pytest.mark.usefixtures("no_curves")
def test_a_view_of_a_run_leaves_its_progress_alone(tmp_path, faces32):
    trainer = mg.Trainer(mg.Config.profile("smoke"), faces32, tmp_path / "run").fit(steps=2)
    panel = opened(trainer.folder)
    message = {"method": "custom", "content": {"kind": "view"}}
    panel._handle_msg({"content": {"data": message}, "buffers": []})
    time.sleep(0.1)
    assert panel.progress == pytest.approx(4 / 6)
    panel.stop()
    panel.close()


@pytest.mark.usefixtures("no_curves")
def test_looking_at_the_picture_does_not_stop_the_panel(unfinished, monkeypatch):
    refresh = unfinished.run.refresh
    monkeypatch.setattr(unfinished.run, "refresh", lambda: time.sleep(0.02) or refresh())
    looks = threading.Thread(target=lambda: [unfinished.picture() for _ in range(3)], daemon=True)
    looks.start()
    for step in range(81, 91):
        append(unfinished, row_of(step))
        time.sleep(0.03)
    looks.join(20)
    assert not looks.is_alive()
    until(lambda: "run: step 90, " in unfinished.frame["text"])


def test_a_second_panel_of_a_run_takes_over_from_the_first(tmp_path):
    first = opened(tmp_path / "run")
    second, other = opened(tmp_path / "run"), opened(tmp_path / "other")
    assert not first._thread.is_alive()
    assert second._thread.is_alive()
    assert other._thread.is_alive()
    second.stop()
    other.stop()
    assert not training.TrainingPanel.watching


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
        until(lambda: unfinished.problem == "The panel could not be drawn: division by zero")
    append(unfinished, row_of(82) + "83,9")
    until(lambda: "run: step 82, " in unfinished.frame["text"])
    until(lambda: unfinished.problem == "")


def test_what_cannot_be_drawn_at_the_end_is_told_and_tried_again(unfinished, complete, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(plots, "history", lambda *_: 1 / 0)
        shutil.copy(complete.folder / "checkpoint.pt", unfinished.run.folder)
        until(lambda: unfinished.problem == "The panel could not be drawn: division by zero")
        assert not unfinished.ended
    until(lambda: unfinished.run.folder not in unfinished.watching)
    assert unfinished.ended
    assert unfinished.problem == ""
    assert "step 80 of 80, complete" in unfinished.frame["text"]


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
    assert len(drawn) >= 2  # of a hundred changes within a second or two
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
    told = [training._duration(seconds) for seconds in (0.4, 59.6, 200, 3599.7, 18_600)]
    assert told == ["0 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "5 h 10 min"]


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
        assert rooms.WIDGET_VIEW in output["data"]
        stored = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
        wanted = np.asarray(widgets.watch(tmp_path / run).picture(), dtype=int)
        assert np.abs(np.asarray(stored.convert("RGB"), dtype=int) - wanted).mean() < 2


# -------------------------------------------------------------------------------- small pictures


def test_captions_have_the_letters_that_they_need():
    drawn_as = {letter: bytes(pictures.font().getmask(letter)) for letter in "ρ−±²\uffff"}
    assert len(set(drawn_as.values())) == 5  # none is the box for missing letters


def test_a_row_has_each_picture_below_its_caption():
    red, wide = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (8, 4), "blue")
    row = pictures.row([("a", red), ("", wide)], 20)
    assert row.size == (20 + GAP + 40, 20 + CAPTION)
    assert row.getpixel((10, CAPTION + 10)) == (255, 0, 0)
    assert row.getpixel((20 + GAP + 39, CAPTION + 19)) == (0, 0, 255)
    assert numbers(row.crop((0, 0, 20, CAPTION))).min() < 128  # a letter
    assert numbers(row.crop((20, 0, 70, CAPTION))).min() == 255
    both = pictures.stack([row, red])
    assert both.size == (70 + 2 * GAP, 20 + CAPTION + 4 + 3 * GAP)
    assert both.getpixel((GAP, both.height - GAP - 1)) == (255, 0, 0)


def test_a_picture_as_text_is_the_picture(astronaut):
    kind, data = pictures.data_uri(astronaut).split(",")
    assert kind == "data:image/webp;base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert decoded.format == "WEBP"
    assert np.abs(numbers(decoded) - numbers(astronaut)).mean() < 4
    assert len(data) < len(pictures.png(astronaut)) / 3


def test_heat_is_dark_where_a_map_is_lowest_and_bright_where_highest():
    black = Image.new("RGB", (8, 8))
    weights = torch.tensor([[0.2, 0.2], [0.2, 0.7]])
    picture = numbers(pictures.heat(weights, black))
    lowest, highest = (0.65 * 255 * np.array(pictures.HEAT(share)[:3]) for share in (0.0, 1.0))
    assert np.abs(picture[0, 0] - lowest).max() <= 0.5
    assert np.abs(picture[7, 7] - highest).max() <= 0.5
    assert picture[7, 7].sum() == picture.sum(-1).max()
    white = numbers(pictures.heat(weights, Image.new("RGB", (8, 8), "white")))
    assert np.abs(white - picture - 0.35 * 255).max() <= 1  # the face shines through


@pytest.mark.filterwarnings("error")
def test_a_map_that_is_the_same_everywhere_is_dark():
    picture = numbers(pictures.heat(torch.full((2, 2), 0.5), Image.new("RGB", (8, 8))))
    lowest = 0.65 * 255 * np.array(pictures.HEAT(0.0)[:3])
    assert np.abs(picture - lowest).max() <= 0.5


def test_bars_are_as_high_as_their_values():
    picture = numbers(pictures.bars([0.0, 0.25, 0.75, 1.0], width=40, height=100))
    blue = (picture == pictures.BLUE).all(-1)  # (100, 40)
    assert np.abs(blue.sum(0)[[5, 15, 25, 35]] - [0, 25, 75, 99]).max() <= 1.5
    assert blue[-1].any()
    assert (blue.argmax(0)[[15, 25, 35]] == [100 - 25, 100 - 75, 1]).all() or blue[2, 35]
    assert np.ptp(picture[50], axis=0).max() == 0  # the line at one half
    assert (picture[50] < 255).all()


def test_source_is_the_code_that_runs():
    shown = widgets.source(mg.Trainer.train_step, mg.encode).data
    assert shown.startswith("```python\ndef train_step(self)")
    assert inspect.getsource(mg.encode) in shown
