"""Finding, aligning and pasting back: known rotations, markers and pictures in every mode."""

import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from mmagan_lite import detection
from mmagan_lite.detection import (
    Face,
    FaceNotFoundError,
    SeveralFacesError,
    align,
    detect,
    find_face,
    load_image,
    paste_back,
)

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
EYES = (205, 101), (247, 103)  # read off the picture


@pytest.fixture
def without_mtcnn(monkeypatch):
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    detection._mtcnn.cache_clear()
    yield
    detection._mtcnn.cache_clear()


def pixels(image):
    return np.asarray(image).astype(int)


def two_astronauts(second_size=512):
    scene = Image.new("RGB", (1024, 512), "grey")
    scene.paste(ASTRONAUT, (512, 0))
    scene.paste(ASTRONAUT.resize((second_size, second_size)), (0, 0))
    return scene


# ------------------------------------------------------------------------------------ finding


def test_mtcnn_finds_the_astronaut_once_with_eyes_where_they_are():
    (face,) = detect(ASTRONAUT)
    assert face.probability > 0.99
    assert np.abs(np.array(face.landmarks[:2]) - EYES).max() < 4
    assert detection.detector_name().startswith("MTCNN")


def test_coordinates_are_those_of_the_photograph_however_large_it_is():
    large = ASTRONAUT.resize((1536, 1536), Image.Resampling.LANCZOS)
    (face,) = detect(large)
    assert np.abs(np.array(face.landmarks[:2]) - 3 * np.array(EYES)).max() < 12


def test_a_picture_without_a_face_says_so():
    with pytest.raises(FaceNotFoundError, match="No face was found"):
        find_face(skimage.data.coffee())
    assert detect(Image.new("RGB", (700, 17))) == []  # thinner than any face looked for


def test_several_faces_have_to_be_chosen_from_unless_one_is_much_larger():
    scene = two_astronauts(400)
    with pytest.raises(SeveralFacesError, match=r"2 faces were found .*x = 7.*which="):
        find_face(scene)
    assert find_face(scene, which=0).centre[0] > 512 > find_face(scene, which=1).centre[0]
    with pytest.raises(ValueError, match="no face number 2"):
        find_face(scene, which=2)
    assert find_face(two_astronauts(230)).centre[0] > 512


@pytest.mark.filterwarnings("ignore:facenet-pytorch is not installed")
def test_the_cascade_steps_in_and_frames_the_face_about_as_mtcnn_does(without_mtcnn):
    face = find_face(ASTRONAUT)
    assert face.landmarks is None
    assert face.probability is None
    _, transform = align(ASTRONAUT, face, size=100)
    middle = transform(np.mean(EYES, axis=0))[0]
    assert np.abs(middle - [50, 43]).max() < 8
    eyes = transform(EYES)
    assert 20 < eyes[1, 0] - eyes[0, 0] < 36  # 27.5 from landmarks


def test_the_cascade_says_what_would_be_better(without_mtcnn):
    with pytest.warns(UserWarning, match="pip install --no-deps facenet-pytorch"):
        assert detection.detector_name().startswith("LBP cascade")


# ----------------------------------------------------------------------------------- aligning


def test_in_an_aligned_crop_eyes_are_level_and_the_face_fills_four_fifths():
    tilted = ASTRONAUT.rotate(17, Image.Resampling.BICUBIC, center=(226, 115))
    crop, _ = align(tilted, find_face(tilted), size=256)
    found = find_face(crop)  # anew, in the crop
    left, right = np.array(found.landmarks[:2])
    assert abs(left[1] - right[1]) < 4
    assert np.abs((left + right) / 2 - [128, 110]).max() < 6
    assert 0.7 < (found.box[3] - found.box[1]) / 256 < 0.9
    assert 0 < found.box[1] < found.box[3] < 256  # forehead and chin are inside


@pytest.mark.parametrize("angle", [-30, 10, 40])
def test_a_rotated_photograph_gives_the_same_crop(angle):
    rotated = ASTRONAUT.rotate(angle, Image.Resampling.BICUBIC, center=(226, 115))
    upright, _ = align(ASTRONAUT, find_face(ASTRONAUT))
    crop, transform = align(rotated, find_face(rotated))
    assert abs(np.degrees(transform.rotation) - angle + 2.7) < 4  # her eyes tilt by 2.7 degrees
    not_levelled = crop.rotate(angle, center=(64, 55))

    def difference(image):
        return np.abs(pixels(image) - pixels(upright))[24:104, 24:104].mean()

    assert difference(crop) < difference(not_levelled) / 2


@pytest.mark.parametrize("size", [40, 128, 500])
def test_crop_and_transform_agree_to_half_a_pixel(size):
    photo = np.zeros((512, 512, 3), np.uint8)
    photo[97:101, 238:242] = 255  # centred at x = 240, y = 99
    face = find_face(ASTRONAUT)
    crop, transform = align(photo, face, size)
    light = pixels(crop).sum(2)
    centre = np.array([light.sum(0) @ np.arange(size), light.sum(1) @ np.arange(size)])
    centre = centre / light.sum() + 0.5
    assert np.abs(centre - transform([240, 99])[0]).max() < 0.5


LEVEL = np.array([(80, 100), (120, 100), (100, 122), (84, 142), (116, 142)], float)


def transform_of(landmarks):
    face = Face((0, 0, 1, 1), 1.0, tuple(map(tuple, landmarks)))
    return align(np.zeros((240, 200), np.uint8), face)[1]


def test_a_smile_leaves_the_frame_where_it_was():
    smiling = LEVEL + np.array([(0, 0), (0, 0), (0, 0), (-6, -3), (6, -3)])
    assert np.allclose(transform_of(smiling).params, transform_of(LEVEL).params)


def test_a_turned_head_is_not_framed_as_if_its_eyes_were_close_together():
    turned = LEVEL + np.array([(10, 0), (-10, 0), (0, 0), (0, 0), (0, 0)])
    assert 1 < transform_of(turned).scale / transform_of(LEVEL).scale < 1.3  # by the eyes: 2


def test_beyond_the_photograph_its_edge_is_repeated():
    ramp = np.tile(np.linspace(0, 255, 100).astype(np.uint8), (240, 1))
    face = Face((0, 0, 1, 1), 1.0, tuple(map(tuple, LEVEL - [50, 0])))  # frame 145 pixels wide
    crop = pixels(align(ramp, face)[0])
    assert (crop[:, :16] == 0).all()
    assert (crop[:, -16:] == 255).all()


def test_shrinking_averages_the_fine_structure_that_a_crop_cannot_hold():
    checkers = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    face = Face((0, 0, 1, 1), 1.0, tuple(map(tuple, 2.5 * LEVEL)))
    assert np.abs(pixels(align(checkers, face, size=64)[0])[8:-8, 8:-8] - 127.5).max() < 16


# ------------------------------------------------------------------------------- pasting back


def test_pasting_an_unedited_crop_back_changes_nothing():
    face = find_face(ASTRONAUT)
    for size in (64, 300):
        crop, transform = align(ASTRONAUT, face, size)
        assert np.array_equal(pixels(paste_back(ASTRONAUT, crop, transform)), pixels(ASTRONAUT))


def test_an_edit_reaches_the_face_and_leaves_the_rest_of_the_photograph_exactly():
    crop, transform = align(ASTRONAUT, find_face(ASTRONAUT))
    edited = Image.fromarray((pixels(crop) // 2).astype(np.uint8))
    change = pixels(paste_back(ASTRONAUT, edited, transform)) - pixels(ASTRONAUT)
    x, y = np.meshgrid(np.arange(512) + 0.5, np.arange(512) + 0.5)
    inside = transform(np.stack([x.ravel(), y.ravel()], 1)).reshape(512, 512, 2)
    outside = ((inside < 0) | (inside > 128)).any(2)
    assert not change[outside].any()
    cheek = pixels(ASTRONAUT)[122:130, 200:208]
    assert np.abs(change[122:130, 200:208] + cheek / 2).max() < 8


def test_an_edit_fades_out_without_a_seam():
    photo = Image.new("RGB", (512, 512), (90, 90, 90))
    crop, transform = align(photo, find_face(ASTRONAUT))
    bright = Image.new("RGB", crop.size, (190, 190, 190))
    change = pixels(paste_back(photo, bright, transform)) - 90
    assert change.max() == 100
    steps = max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1))
    assert steps < 15  # of a step of 100 that a plain paste would leave


@pytest.mark.parametrize("size", [32, 128, 400])
def test_a_mark_in_the_crop_lands_where_the_transform_says(size):
    photo = Image.new("RGB", (640, 480))
    tilted = Face(
        (200, 100, 400, 350), 1.0,
        ((260, 190), (345, 215), (290, 250), (240, 270), (310, 295)),
    )  # fmt: skip
    crop, transform = align(photo, tilted, size)
    marked = pixels(crop)
    x, y = size // 3, size // 2
    marked[y : y + 2, x : x + 2] = 255  # centred at (x + 1, y + 1)
    change = pixels(paste_back(photo, Image.fromarray(marked.astype(np.uint8)), transform)).sum(2)
    centre = np.array([change.sum(0) @ np.arange(640), change.sum(1) @ np.arange(480)])
    centre = centre / change.sum() + 0.5
    assert np.abs(centre - transform.inverse([x + 1, y + 1])[0]).max() < 0.5


def test_a_crop_that_is_not_square_is_refused():
    _, transform = align(ASTRONAUT, find_face(ASTRONAUT))
    with pytest.raises(ValueError, match="square; got 128 x 64"):
        paste_back(ASTRONAUT, Image.new("RGB", (128, 64)), transform)


# ------------------------------------------------------------------------------------ loading


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_every_usual_mode_of_picture_becomes_rgb(tmp_path):
    grey = ASTRONAUT.convert("L")
    deep = Image.fromarray(pixels(grey).astype(np.uint16) * 256)
    for mode, name in [("CMYK", "c.jpg"), ("L", "g.png"), ("P", "p.gif"), ("RGBA", "a.png")]:
        image = load_image(saved(tmp_path, ASTRONAUT.convert(mode), name))
        truth = grey if mode == "L" else ASTRONAUT
        assert image.mode == "RGB"
        assert np.abs(pixels(image) - pixels(truth.convert("RGB"))).mean() < 16
    sixteen = load_image(saved(tmp_path, deep, "d.png"))
    assert np.array_equal(pixels(sixteen)[..., 0], pixels(grey))


def test_transparent_pixels_become_white():
    clear = np.zeros((20, 20, 4), np.uint8)
    assert load_image(clear).getpixel((3, 3)) == (255, 255, 255)


def test_arrays_are_taken_in_three_shapes():
    colour = skimage.data.astronaut()
    assert np.array_equal(pixels(load_image(colour)), colour)
    assert load_image(colour[..., 0]).mode == "RGB"
    assert np.array_equal(pixels(load_image(np.dstack([colour, colour[..., :1] | 255]))), colour)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_rotation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to view"
    lying = ASTRONAUT.crop((0, 0, 512, 400)).transpose(Image.Transpose.ROTATE_90)
    path = saved(tmp_path, lying, f"lying.{suffix}", exif=exif)
    image = load_image(path)
    assert image.size == (512, 400)
    assert np.abs(pixels(image) - pixels(ASTRONAUT)[:400]).mean() < 5


def test_what_is_not_a_picture_gets_one_sentence(tmp_path):
    whole = saved(tmp_path, ASTRONAUT, "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    for name in ("cut.jpg", "text.jpg", "empty.png", "."):
        with pytest.raises(ValueError, match="is not a readable picture"):
            load_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_image(str(tmp_path / "missing.jpg"))


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        (None, TypeError, "got NoneType"),
        (np.zeros((32, 32, 3)), TypeError, "must be of uint8, 0 to 255; got float64"),
        (np.zeros((3, 32, 32), np.uint8), ValueError, r"got \(3, 32, 32\)"),
        (np.zeros((0, 32, 3), np.uint8), ValueError, "empty"),
        (np.zeros((32, 8, 3), np.uint8), ValueError, "only 8 x 32 pixels"),
        (Image.new("F", (32, 32)), ValueError, "32 bits a pixel"),
    ],
)
def test_a_wrong_source_gets_one_sentence(source, error, sentence):
    with pytest.raises(error, match=sentence):
        load_image(source)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    with pytest.raises(ValueError, match=r"not a readable picture .*decompression bomb"):
        load_image(saved(tmp_path, ASTRONAUT, "large.png"))
