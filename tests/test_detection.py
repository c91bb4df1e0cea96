"""Finding, aligning and pasting back: known rotations, markers and pictures in every mode."""

import io
import os
import re
import struct
import sys
import tracemalloc
import zlib

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
    left_to_right,
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


def test_what_mtcnn_is_not_sure_of_is_no_face(monkeypatch):
    class Unsure:
        def detect(self, image, landmarks):
            places = np.arange(20.0).reshape(2, 5, 2)
            return np.array([(0, 0, 90, 90), (0, 0, 80, 80)]), np.array([0.85, 0.95]), places

    monkeypatch.setattr(detection, "_mtcnn", Unsure)
    assert [face.probability for face in detect(ASTRONAUT)] == [0.95]


def test_a_box_contains_what_lies_within_all_four_sides():
    box = 10, 20, 30, 60
    for inside in ((20, 40), (10, 20), (30, 60)):
        assert detection.contains(box, inside)
    for outside in ((9, 40), (31, 40), (20, 19), (20, 61)):
        assert not detection.contains(box, outside)


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
    with pytest.raises(SeveralFacesError, match=r"2 faces .* 1 at x = 1.* 2 at x = 7.*face=1"):
        find_face(scene)
    first, second = find_face(scene, 1), find_face(scene, face=2)
    assert first.centre[0] < 512 < second.centre[0]
    assert detect(scene) == [second, first]  # the largest first
    assert left_to_right(detect(scene)) == [first, second]
    for number in (0, 3, -1):
        with pytest.raises(ValueError, match=f"no face number {number}; found, from left"):
            find_face(scene, number)
    with pytest.raises(SeveralFacesError):
        find_face(two_astronauts(280))  # the larger is three times as large
    assert find_face(two_astronauts(230)).centre[0] > 512  # five times


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


def frame_coordinates(photo, transform):
    """Where the pixels of a photograph lie in the crop: (H, W, 2)."""
    x, y = np.meshgrid(np.arange(photo.width) + 0.5, np.arange(photo.height) + 0.5)
    return transform(np.stack([x.ravel(), y.ravel()], 1)).reshape(*x.shape, 2)


def seam(photo, result, transform, size):
    """By how much a photograph changed outside a crop, and its steps along the crop's frame."""
    inside = frame_coordinates(photo, transform)
    depth = np.minimum(inside, size - inside).min(2) / transform.scale  # pixels from the frame
    change = pixels(result) - pixels(photo)
    steps = np.abs(np.stack([np.diff(change, axis=0)[:, :-1], np.diff(change, axis=1)[:-1]]))
    at_frame = np.abs(depth[:-1, :-1]) < 1.5
    return np.abs(change[depth < 0]).max(), steps[:, at_frame].max()


@pytest.mark.parametrize("size", [64, 128, 300])
@pytest.mark.parametrize("angle", [0, 25])
def test_at_the_frame_no_edge_appears_that_the_photograph_did_not_have(size, angle, monkeypatch):
    photo = ASTRONAUT.rotate(angle, Image.Resampling.BICUBIC, center=(226, 115))
    crop, transform = align(photo, find_face(photo), size)
    edited = Image.fromarray(255 - np.asarray(crop))  # as much of a change as can be
    outside, edge = seam(photo, paste_back(photo, edited, transform), transform, size)
    assert outside == 0
    assert edge <= 8
    monkeypatch.setattr(detection, "_fade", lambda side: np.ones((side, side), np.float32))
    assert seam(photo, paste_back(photo, edited, transform), transform, size)[1] > 100


def test_a_face_cut_by_the_edge_of_the_photograph_is_edited_up_to_the_edge():
    photo = ASTRONAUT.crop((170, 60, 512, 512))  # the frame begins 30 pixels further left
    crop, transform = align(photo, find_face(photo))
    edited = Image.fromarray((pixels(crop) // 2).astype(np.uint8))
    change = pixels(paste_back(photo, edited, transform)) - pixels(photo)
    assert transform([0, 50])[0, 0] > 0.1 * 128  # beyond the fading
    assert np.abs(change[50:60, 0] + pixels(photo)[50:60, 0] / 2).max() < 12


def test_an_edit_needs_memory_for_the_face_only_and_leaves_its_photograph_alone():
    photo = Image.new("RGB", (4000, 3000), "grey")
    photo.paste(ASTRONAUT, (1000, 1000))
    face = Face(
        (1180, 1060, 1270, 1180), 1.0,
        ((1205, 1101), (1247, 1103), (1230, 1120), (1208, 1145), (1245, 1146)),
    )  # fmt: skip
    align(photo, face), load_image(photo)
    tracemalloc.start()
    crop, transform = align(photo, face)
    result = paste_back(photo, Image.new("RGB", crop.size), transform)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # the pixels of the photograph are 36e6
    assert photo.getpixel((1226, 1115)) == ASTRONAUT.getpixel((226, 115))
    assert sum(result.getpixel((1226, 1115))) < 30


def test_an_edit_fades_out_without_a_seam():
    photo = Image.new("RGB", (512, 512), (90, 90, 90))
    crop, transform = align(photo, find_face(ASTRONAUT))
    bright = Image.new("RGB", crop.size, (190, 190, 190))
    change = pixels(paste_back(photo, bright, transform)) - 90
    assert change.max() == 100
    steps = max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1))
    assert steps < 15  # of a step of 100 that a plain paste would leave


def test_white_stays_white_when_an_edit_brightens_what_the_crop_saw_as_grey():
    checkers = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    crop, transform = align(checkers, find_face(ASTRONAUT), 32)
    brighter = Image.fromarray((pixels(crop) + 100).clip(0, 255).astype(np.uint8))
    result = pixels(paste_back(checkers, brighter, transform))
    assert (result >= checkers[..., None]).all()
    assert (result[checkers == 0] > 90).any()


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


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


SMALL = ASTRONAUT.crop((150, 40, 310, 160))  # 160 x 120


def deep_png(colour_type, samples):
    """A PNG of 16 bits a sample, which Pillow does not write: samples (H, W, channels)."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def animated(form, **options):
    others = [Image.new("RGB", SMALL.size, colour) for colour in ("red", "blue")]
    return encoded(SMALL, form, save_all=True, append_images=others, **options)


def clear_corner(mode="RGBA"):
    if mode == "RGB":
        image = SMALL.copy()
        image.paste((255, 0, 254), (0, 0, 20, 20))
        return image
    image = SMALL.convert("RGBA")
    image.paste((9, 9, 9, 0), (0, 0, 20, 20))
    return image if mode == "RGBA" else image.quantize(255)


def white_corner():
    image = SMALL.copy()
    image.paste("white", (0, 0, 20, 20))
    return image


DEEP = pixels(SMALL) * 256 + 99  # the lower byte says nothing of the picture
GREY = SMALL.convert("L")
ROUGH = 12  # mean of the differences that 255 colours or a coarse JPEG make
KINDS = {
    "JPEG": (lambda: encoded(SMALL, "JPEG", quality=95), SMALL, 3),
    "JPEG, progressive": (lambda: encoded(SMALL, "JPEG", quality=95, progressive=True), SMALL, 3),
    "JPEG, grey": (lambda: encoded(GREY, "JPEG", quality=95), GREY, 3),
    "JPEG, CMYK": (lambda: encoded(SMALL.convert("CMYK"), "JPEG", quality=95), SMALL, 3),
    "MPO": (lambda: animated("MPO", quality=95), SMALL, 3),
    "PNG": (lambda: encoded(SMALL, "PNG"), SMALL, 0),
    "PNG, black and white": (lambda: encoded(GREY.convert("1"), "PNG"), GREY.convert("1"), 0),
    "PNG, transparent": (lambda: encoded(clear_corner(), "PNG"), white_corner(), 0),
    "PNG, palette": (lambda: encoded(clear_corner("P"), "PNG"), white_corner(), ROUGH),
    "PNG, one transparent colour": (
        lambda: encoded(clear_corner("RGB"), "PNG", transparency=(255, 0, 254)), white_corner(), 0,
    ),
    "PNG, 16 bits": (lambda: deep_png(2, DEEP), SMALL, 1),
    "PNG, 16 bits grey": (lambda: deep_png(0, DEEP[..., :1]), SMALL.getchannel("R"), 1),
    "APNG": (lambda: animated("PNG"), SMALL, 0),
    "WebP": (lambda: encoded(SMALL, "WEBP", lossless=True), SMALL, 0),
    "WebP, transparent": (
        lambda: encoded(clear_corner(), "WEBP", lossless=True, exact=True), white_corner(), 0,
    ),
    "WebP, animated": (lambda: animated("WEBP", lossless=True), SMALL, 0),
    "GIF": (lambda: encoded(SMALL.quantize(255), "GIF"), SMALL, ROUGH),
    "GIF, animated": (lambda: animated("GIF"), SMALL, ROUGH),
    "BMP": (lambda: encoded(SMALL, "BMP"), SMALL, 0),
    "TIFF": (lambda: encoded(SMALL, "TIFF", compression="tiff_lzw"), SMALL, 0),
    "TIFF, 16 bits grey": (
        lambda: encoded(Image.fromarray(DEEP[..., 0].astype(np.uint16)), "TIFF"),
        SMALL.getchannel("R"), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_usual_kind_of_file_becomes_rgb(kind):
    make, truth, tolerance = KINDS[kind]
    image = load_image(make())
    assert (image.mode, image.size) == ("RGB", SMALL.size)
    difference = np.abs(pixels(image) - pixels(truth.convert("RGB")))
    assert difference.mean() <= tolerance
    assert difference.max() <= (255 if tolerance > 1 else tolerance)
    assert load_image(image) is image  # nothing is left to be done


def test_a_file_may_be_given_in_five_ways(tmp_path):
    content = encoded(SMALL, "PNG")
    path = tmp_path / "misnamed.jpg"
    path.write_bytes(content)
    buffer = io.BytesIO()
    SMALL.save(buffer, "PNG")  # stands at its end
    with path.open("rb") as file:
        for source in (path, str(path), content, memoryview(content), buffer, file):
            assert np.array_equal(pixels(load_image(source)), pixels(SMALL))
        assert not file.closed
    with path.open(encoding="latin-1") as text, pytest.raises(TypeError, match="'rb'"):
        load_image(text)


def test_a_picture_that_pillow_has_not_unpacked_yet_is_unpacked_or_refused():
    content = encoded(SMALL, "PNG")
    assert np.array_equal(pixels(load_image(Image.open(io.BytesIO(content)))), pixels(SMALL))
    with pytest.raises(ValueError, match="The picture is not a readable picture: it is damaged"):
        load_image(Image.open(io.BytesIO(content[:-2000])))


# What EXIF's standard says of each value: at which side of the view the first row and the first
# column of what is stored lie.
ORIENTATIONS = {
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
}  # fmt: skip


def stored(view, orientation):
    """The pixels that a camera stores for a view, found one by one from the standard's words."""
    height, width = view.shape[:2]
    place = {"top": 0, "left": 0, "bottom": height - 1, "right": width - 1}
    row, column = ORIENTATIONS[orientation]
    upright = row in ("top", "bottom")
    rows, columns = (height, width) if upright else (width, height)
    result = np.zeros((rows, columns, 3), np.uint8)
    for r in range(rows):
        for c in range(columns):
            along_rows, along_columns = abs(place[row] - r), abs(place[column] - c)
            y, x = (along_rows, along_columns) if upright else (along_columns, along_rows)
            result[r, c] = view[y, x]
    return result


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_rotation_is_applied(orientation, form):
    view = np.asarray(SMALL.resize((48, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100}}[form]
    file = encoded(Image.fromarray(stored(view, orientation)), form, exif=exif, **options)
    image = load_image(file)
    assert image.size == (48, 32)
    assert np.abs(pixels(image) - view).mean() < (4 if form == "JPEG" else 0.001)
    again = load_image(load_image(Image.open(io.BytesIO(file))))
    assert np.array_equal(pixels(again), pixels(image))  # is not turned twice


def test_a_photograph_of_50_megapixels_is_read():
    large = encoded(ASTRONAUT.resize((8660, 5774), Image.Resampling.BOX), "JPEG", quality=30)
    image = load_image(large)
    assert image.size == (8660, 5774)
    assert np.abs(pixels(image.reduce(16)) - pixels(ASTRONAUT.resize((542, 361)))).mean() < 12


def test_too_large_a_picture_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    for side in (512, 900):  # Pillow warns of the first and refuses the second
        with pytest.raises(ValueError, match=r"The file is too large: .* more than 0\.2 megapix"):
            load_image(encoded(ASTRONAUT.resize((side, side)), "PNG"))


# ---------------------------------------------------------------------------------------- HEIC


def heic(image, **options):
    library = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    library.register_heif_opener()
    return encoded(image, "HEIF", **options)


def test_a_heic_photograph_is_read(tmp_path, monkeypatch):
    content = heic(ASTRONAUT, quality=90)
    monkeypatch.delitem(Image.OPEN, "HEIF")  # as if nobody had told Pillow of HEIC yet
    assert content[4:12] == b"ftypheic"
    (tmp_path / "photo.HEIC").write_bytes(content)
    for source in (content, tmp_path / "photo.HEIC"):
        image = load_image(source)
        assert (image.mode, image.size) == ("RGB", (512, 512))
        assert np.abs(pixels(image) - pixels(ASTRONAUT)).mean() < 4


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_rotated_heic_photograph_is_turned_once(orientation):
    view = np.asarray(ASTRONAUT.crop((150, 0, 350, 128)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = Image.fromarray(stored(view, orientation))
    image = load_image(heic(lying, quality=95, exif=exif.tobytes()))
    assert image.size == (200, 128)
    assert np.abs(pixels(image) - view).mean() < 6


def test_without_the_library_for_heic_the_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"a HEIC picture.*pip install pillow-heif, or .* JPEG"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_a_broken_heic_photograph_gets_a_sentence():
    content = heic(ASTRONAUT)
    for length in (20, 400, len(content) // 2):
        with pytest.raises(ValueError, match=r"^The file is not a readable picture"):
            load_image(content[:length])


# ----------------------------------------------------------------------------- what is refused


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_gets_one_sentence(kind):
    whole = KINDS[kind][0]()
    half = whole[: 200 if kind in {"MPO", "APNG", "WebP, animated"} else len(whole) // 2]
    if kind == "GIF, animated":  # its first frame is in the first half
        half = whole[:2000]
    with pytest.raises(ValueError, match=r"^The file is not a readable picture[^\n]*\.$"):
        load_image(half)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIC"])
def test_damage_anywhere_gives_a_picture_or_one_sentence(form):
    image = SMALL.resize((40, 30))
    whole = np.frombuffer(heic(image) if form == "HEIC" else encoded(image, form), np.uint8)
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = whole.copy()
        where = random.integers(0, min(len(whole), 300), 3)
        damaged[where] = random.integers(0, 256, 3)
        try:
            said = f"The picture is {load_image(damaged.tobytes()).mode}."
        except ValueError as error:
            said = str(error)
        assert re.fullmatch(r"The (file|picture) (is|has) [^\n]*\.", said)


def test_a_file_that_is_no_picture_gets_one_sentence(tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    for name, sentence in {
        "text.jpg": r"text\.jpg is not a readable picture, whatever its name says",
        "empty.png": r"empty\.png is not a readable picture: it is empty \(0 bytes\)",
        ".": "is a folder, not a readable picture",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            load_image(tmp_path / name)
    with pytest.raises(ValueError, match="The file is not a readable picture: it is empty"):
        load_image(b"")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_image(str(tmp_path / "missing.jpg"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match="no ordinary file"):
        load_image(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        (None, TypeError, "got NoneType"),
        (np.zeros((32, 32, 3)), TypeError, "must be of uint8, 0 to 255; got float64"),
        (np.zeros((3, 32, 32), np.uint8), ValueError, r"got \(3, 32, 32\)"),
        (np.zeros((0, 32, 3), np.uint8), ValueError, "empty"),
        (np.zeros((32, 8, 3), np.uint8), ValueError, "only 8 x 32 pixels"),
        (encoded(Image.new("RGB", (1, 10_000)), "PNG"), ValueError, "only 1 x 10000 pixels"),
        (encoded(Image.new("RGB", (10_000, 1)), "JPEG"), ValueError, "only 10000 x 1 pixels"),
        (Image.new("F", (32, 32)), ValueError, "32 bits a pixel"),
        (encoded(Image.new("I", (32, 32)), "TIFF"), ValueError, "32 bits a pixel"),
    ],
)
def test_a_wrong_source_gets_one_sentence(source, error, sentence):
    with pytest.raises(error, match=sentence):
        load_image(source)


def test_transparent_pixels_become_white():
    clear = np.zeros((20, 20, 4), np.uint8)
    assert load_image(clear).getpixel((3, 3)) == (255, 255, 255)


def test_arrays_are_taken_in_three_shapes():
    colour = skimage.data.astronaut()
    assert np.array_equal(pixels(load_image(colour)), colour)
    assert load_image(colour[..., 0]).mode == "RGB"
    assert np.array_equal(pixels(load_image(np.dstack([colour, colour[..., :1] | 255]))), colour)


def test_the_profile_of_other_colours_does_not_stay_with_rgb():
    profile = {"icc_profile": b"a profile"}
    photo = load_image(encoded(SMALL, "PNG", **profile))
    assert photo.info["icc_profile"] == b"a profile"  # tells how these very pixels look
    grey = load_image(encoded(GREY, "PNG", **profile))
    assert "icc_profile" not in grey.info
