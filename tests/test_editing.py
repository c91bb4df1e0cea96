"""Editing pictures, with a stand-in whose edits are known; and faces found in photographs."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torch import nn

import mmagan_lite as mg
from mmagan_lite import detection, editing
from mmagan_lite.data import Faces
from mmagan_lite.editing import edit, load_model, sweep, to_pil, to_tensor
from mmagan_lite.generator import Generator


class Brighter(nn.Module):
    """Instead of a generator: adds 100 levels times ρ, whatever the expression."""

    def __init__(self, size=64):
        super().__init__()
        self.config = mg.Config(image_size=size)
        self.step = nn.Parameter(torch.tensor(100 / 127.5))
        self.seen = []

    def forward(self, x, z):
        self.seen.append(x)
        return x + self.step * z.sum(1)[:, None, None, None]


class Identity(Brighter):
    """A generator that leaves every picture as it is."""

    def forward(self, x, z):
        return x


def picture(width, height, high=150):
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, high, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator(mg.Config(width=8, blocks=1, image_size=64)).eval()


# --------------------------------------------------------------------------------------- crops


def test_a_crop_of_the_models_size_becomes_what_the_generator_draws(generator):
    crop = picture(64, 64, high=256)
    pixels = np.asarray(crop).astype(np.float32)
    x = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / 127.5 - 1)
    with torch.no_grad():
        y = generator(x, mg.encode("fear", 0.7)[None])
    expected = ((y.clamp(-1, 1) + 1) * 127.5).round()[0].numpy().transpose(1, 2, 0)
    edited = np.asarray(edit(crop, "fear", 0.7, generator)).astype(np.float32)
    assert np.abs(edited - expected).max() <= 1
    assert np.abs(edited - pixels).max() > 5


@pytest.mark.parametrize("size", [(200, 200), (33, 35), (64, 64)])
def test_the_change_is_added_to_the_picture_at_its_own_size_and_detail(size):
    crop = picture(*size)
    edited = edit(crop, "anger", 0.5, Brighter())
    assert edited.size == size
    assert edited.mode == "RGB"
    change = np.asarray(edited).astype(int) - np.asarray(crop)
    assert np.abs(change - 50).max() <= 1


def test_the_generator_sees_the_picture_at_its_own_size():
    model = Brighter(32)
    edit(picture(100, 100), "anger", model=model)
    assert model.seen[0].shape == (1, 3, 32, 32)
    assert model.seen[0].min() >= -1
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, ::10] = 255
    edit(stripes, "anger", model=model)
    assert -1 <= model.seen[1].min() < model.seen[1].max() <= 1  # though bicubic would overshoot


def test_the_generator_sees_averages_of_what_is_too_fine_for_it():
    model = Brighter(32)
    checkers = (np.indices((256, 256)).sum(0) // 2 % 2 * 255).astype(np.uint8)
    edit(checkers, "anger", model=model)
    assert model.seen[0][..., 2:-2, 2:-2].abs().max() < 0.1


class Ramp(Brighter):
    """Instead of a generator: adds from nothing on the left to 100 levels on the right."""

    def forward(self, x, z):
        return x + self.step * torch.linspace(0, 1, x.shape[-1])


def test_a_change_is_enlarged_without_steps():
    change = np.asarray(edit(Image.new("RGB", (320, 320)), "anger", model=Ramp(32))).astype(int)
    assert np.abs(np.diff(change, axis=1)).max() <= 1  # of 3 levels between the model's pixels


def test_every_way_to_hand_over_a_picture_gives_the_same(tmp_path, generator):
    crop = picture(70, 70)
    path = tmp_path / "crop.png"
    crop.save(path)
    wanted = np.asarray(edit(crop, "disgust", 1.0, generator))
    content = path.read_bytes()
    for source in (np.asarray(crop), path, str(path), content, io.BytesIO(content)):
        assert np.array_equal(edit(source, "disgust", 1.0, generator), wanted)


def test_a_sweep_runs_from_rho_0_to_1(generator):
    crop = picture(64, 64)
    images = sweep(crop, "surprise", 3, generator)
    for image, rho in zip(images, (0, 0.5, 1), strict=True):
        alone = np.asarray(edit(crop, "surprise", rho, generator)).astype(int)
        assert np.abs(alone - np.asarray(image)).max() <= 1  # batches round differently
    brightness = [np.asarray(image).mean() for image in sweep(crop, "fear", 5, Brighter())]
    assert np.diff(brightness) == pytest.approx([25] * 4, abs=0.6)


def test_every_8_bit_level_survives_the_way_to_a_tensor_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)[:, :, None].repeat(3, 2)
    x = to_tensor([Image.fromarray(levels)])
    assert x.shape == (1, 3, 16, 16)
    assert (x.min(), x.max()) == (-1, 1)
    assert np.array_equal(to_pil(x)[0], levels)
    assert np.array_equal(to_pil(3 * x)[0], np.clip(3 * (levels - 127.5) + 127.5, 0, 255).round())


# --------------------------------------------------------------------------------- photographs


def test_a_face_is_found_in_a_photograph_and_edited_where_it_is():
    photo = astronaut()
    edited = np.asarray(edit(photo, "happiness", 1.0, Brighter(), face="detect"))
    assert edited.shape == photo.shape
    change = edited.astype(int) - photo
    changed = np.argwhere(change.any(-1))
    left, top, right, bottom = detection.find_face(photo).box
    middle = change[int(top + bottom) // 2, int(left + right) // 2]
    assert (middle > 20).all()  # 100, less where white is reached
    assert len(changed) < 0.25 * photo.shape[0] * photo.shape[1]
    assert (change[-100:] == 0).all()


def test_a_sweep_edits_the_same_place_of_a_photograph():
    dark, bright = sweep(astronaut(), "happiness", 2, Brighter(), face="detect")
    assert np.array_equal(dark, astronaut())
    assert (np.asarray(bright) != astronaut()).any()


def test_a_photograph_without_a_face_is_refused():
    empty = Image.new("RGB", (200, 200), "teal")
    for face in ("detect", 1):
        with pytest.raises(detection.FaceNotFoundError, match="No face was found"):
            edit(empty, "fear", model=Brighter(), face=face)


@pytest.fixture(scope="module")
def two_people():
    """The astronaut twice: her face at x = 226, and smaller at 512 + 177."""
    scene = Image.new("RGB", (912, 512), "grey")
    scene.paste(Image.fromarray(astronaut()), (0, 0))
    scene.paste(Image.fromarray(astronaut()).resize((400, 400)), (512, 0))
    return scene


def changed_columns(photo, edited):
    change = np.asarray(edited).astype(int) - np.asarray(photo)
    columns = np.flatnonzero(change.any((0, 2)))
    return columns.min(), columns.max()


@pytest.mark.parametrize(("number", "middle"), [(1, 226), (2, 689), (np.int64(2), 689)])
def test_a_number_chooses_a_face_from_left_to_right(two_people, number, middle):
    edited = edit(two_people, "anger", 0.7, Brighter(), face=number)
    left, right = changed_columns(two_people, edited)
    assert middle - 100 < left < middle < right < middle + 100
    faces = detection.left_to_right(detection.detect(two_people))
    same = edit(two_people, "anger", 0.7, Brighter(), face=faces[number - 1])
    assert np.array_equal(edited, same)
    _, last = sweep(two_people, "anger", 2, Brighter(), face=number)
    assert changed_columns(two_people, last)[0] == pytest.approx(left, abs=2)


def test_several_faces_and_a_wrong_number_get_a_sentence_that_says_how_to_choose(two_people):
    with pytest.raises(detection.SeveralFacesError, match=r"2 faces were found, .*face=1"):
        edit(two_people, "anger", model=Brighter(), face="detect")
    for number in (0, 3, -1):
        with pytest.raises(ValueError, match=f"no face number {number}; found, from left to right"):
            edit(two_people, "anger", model=Brighter(), face=number)


def test_a_face_that_was_found_is_not_looked_for_again(two_people, monkeypatch):
    face = detection.find_face(two_people, 2)
    monkeypatch.setattr(detection, "detect", None)
    assert changed_columns(two_people, edit(two_people, "fear", 1, Brighter(), face))[0] > 512
    smaller = two_people.resize((456, 256))
    with pytest.raises(ValueError, match="outside the picture of 456 x 256 pixels; detect it"):
        edit(smaller, "fear", 1, Brighter(), face)


# -------------------------------------------------------------------------------------- no seam


@pytest.fixture(params=["astronaut", "neutral_front/002_03.jpg", "smiling_front/135_08.jpg"])
def portrait(request):
    """A photograph and the one face in it."""
    if request.param == "astronaut":
        photo = Image.fromarray(astronaut())
    else:
        photo = detection.load_image(request.getfixturevalue("london") / request.param)
    return photo, detection.find_face(photo)


def test_a_generator_that_changes_nothing_gives_the_photograph(portrait):
    photo, face = portrait
    for rho in (0, 1):
        edited = edit(photo, "fear", rho, Identity(128), face)
        assert np.array_equal(edited, photo)
    square = photo.crop((0, 0, 300, 300))
    assert np.array_equal(edit(square, "fear", 1, Identity()), square)


@pytest.mark.parametrize("name", ["mmagan-64", "mmagan-128"])
def test_the_edit_of_a_photograph_ends_without_an_edge_around_the_face(portrait, name):
    photo, face = portrait
    model = mg.load_pretrained(name)
    edited = edit(photo, "surprise", 1.0, model, face)
    change = np.asarray(edited).astype(int) - np.asarray(photo)
    place = oval_place(photo, face)  # 1 at the oval, 0 in its middle
    assert not change[place > 1].any()
    assert np.abs(change[place < 0.6]).max() > 60
    steps = np.abs(np.stack([np.diff(change, axis=0)[:, :-1], np.diff(change, axis=1)[:-1]]))
    at_the_end = np.abs(place[:-1, :-1] - 1) < 0.03
    assert steps[:, at_the_end].max() <= 2
    change[place > 0.8] = 0  # cut out and pasted, instead of faded out
    steps = np.abs(np.stack([np.diff(change, axis=0)[:, :-1], np.diff(change, axis=1)[:-1]]))
    assert steps[:, np.abs(place[:-1, :-1] - 0.8) < 0.03].max() > 5


def oval_place(photo, face):
    """How far out a photograph's pixels lie in the oval of an edit, from its middle: (H, W)."""
    _, transform = detection.align(photo, face, 2)  # the crop reaches from 0 to 2
    x, y = np.meshgrid(np.arange(photo.width) + 0.5, np.arange(photo.height) + 0.5)
    u, v = np.abs(transform(np.stack([x.ravel(), y.ravel()], 1)) - 1).T
    return (((u / 0.84) ** 2.5 + v**2.5) ** 0.4).reshape(x.shape)


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"expression": "joy"}, "Unknown expression 'joy'"),
        ({"expression": 8}, "Unknown expression 8"),
        ({"rho": 1.5}, "rho must be .* got 1.5"),
        ({"rho": float("nan")}, "rho must be .* got nan"),
        ({"rho": [0.1, 0.2]}, "one expression and one rho"),
        ({"face": "find"}, "face must be 'crop', 'detect', a number .* got 'find'"),
        ({"face": True}, "face must be .* got True"),
        ({"face": 1.5}, "face must be .* got 1.5"),
        ({"face": None}, "face must be .* got None"),
        ({"image": b"text"}, "The file is not a readable picture, whatever its name says"),
        ({"image": picture(100, 64)}, "must be square; got 100 x 64 pixels.*face='detect'"),
        ({"image": picture(8, 8)}, "only 8 x 8 pixels"),
        ({"image": np.zeros((64, 64, 2), np.uint8)}, r"\(64, 64, 2\)"),
    ],
)
def test_bad_input_gets_a_sentence(changes, sentence):
    arguments = {"image": picture(64, 64), "expression": "fear", "model": Brighter()} | changes
    with pytest.raises(ValueError, match=sentence):
        edit(**arguments)


def test_a_picture_of_another_type_gets_a_sentence():
    with pytest.raises(TypeError, match=r"Expected a PIL image, .* an open file; got list"):
        edit([1, 2], "fear", model=Brighter())
    with pytest.raises(TypeError, match="must be of uint8"):
        edit(np.zeros((64, 64, 3)), "fear", model=Brighter())
    with pytest.raises(FileNotFoundError, match="no file"):
        edit("nowhere.png", "fear", model=Brighter())


@pytest.mark.parametrize("steps", [1, 2.5])
def test_a_sweep_of_fewer_than_two_pictures_is_refused(steps):
    with pytest.raises(ValueError, match="steps must be a whole number, 2 or more"):
        sweep(picture(64, 64), "fear", steps, Brighter())


# -------------------------------------------------------------------------------------- models


class Noise(Faces):
    size = 32

    def __init__(self):
        self.expression = torch.arange(16) % 8
        self.rho = (self.expression > 0).float()
        self.identity = torch.arange(16)
        self.images = torch.randint(256, (16, 3, 32, 32)).byte()

    def pixels(self, indices):
        return self.images[indices]


def test_a_run_is_loaded_as_the_trainers_averaged_generator(tmp_path):
    trainer = mg.Trainer(mg.Config.profile("smoke"), Noise(), tmp_path).fit(steps=2)
    x, z = torch.rand(2, 3, 32, 32), mg.encode(["fear", "anger"])
    for source in (tmp_path, tmp_path / "checkpoint.pt"):
        model = load_model(source)
        assert torch.equal(model(x, z), trainer.model(x, z))
        assert not model.training
        assert not any(weight.requires_grad for weight in model.parameters())


def test_a_model_that_does_not_exist_is_refused():
    with pytest.raises(FileNotFoundError, match="There is no model 'mmagan-9999'"):
        load_model("mmagan-9999")


def test_the_default_model_ships_and_visibly_edits():
    face = to_pil(2 * mg.faces.render(1_000_001, "neutral", 0.0, size=64) - 1)[0]
    change = np.asarray(edit(face, "surprise")).astype(int) - np.asarray(face)
    assert np.abs(change).max() > 40
    assert editing.default_model() is editing.default_model()
