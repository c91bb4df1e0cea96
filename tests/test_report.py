"""The report: counts by hand, copies against another way to count, and a page that can be read."""

import base64
import csv
import io
import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import skimage.data
from folders import ASTRONAUT, PORTRAIT, contents, london_like, rows, wild
from PIL import Image, ImageEnhance
from scipy.spatial.distance import cdist

from data_prep import LAYOUTS, Record, duplicates, prepare
from data_prep import report as report_room
from data_prep.__main__ import main
from data_prep.duplicates import BITS, CHUNK, NEAR, fingerprint, near_pairs
from data_prep.records import Layout

FACES = {
    "a.png": ASTRONAUT,
    "b.png": ASTRONAUT.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("L"),
    "c.png": Image.fromarray(skimage.data.chelsea()).resize((300, 300)),
    "d.png": Image.fromarray(skimage.data.coffee()).resize((60, 60)),
    "e.png": Image.fromarray(skimage.data.rocket()).resize((300, 300)),
}
SAID = {
    "a.png": {"expression": "happiness", "subject": "1", "split": "train", "intensity": 0.5},
    "b.png": {"expression": "neutral", "subject": "2", "split": "train"},
    "c.png": {"expression": "fear", "subject": "1", "split": "test"},
    "d.png": {"expression": "fear", "subject": "3", "split": "test"},
    "e.png": {"expression": None, "subject": "3", "split": "test"},
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Five pictures of which everything is known."""
    (tmp_path / "in").mkdir()
    for name, picture in FACES.items():
        picture.save(tmp_path / "in" / name)

    def records(source):
        for name, said in SAID.items():
            yield Record(path=source / name, native_label="?", **said)

    layout = Layout(records, "five pictures", crops=True, intensity="asked <twenty> people")
    monkeypatch.setitem(LAYOUTS, "small", layout)
    return tmp_path / "in"


# ------------------------------------------------------------------------------------- counts


def test_the_report_says_what_one_counts_by_hand(small, tmp_path):
    report = prepare("small", small, tmp_path / "out")
    assert (report["found"], report["used"], report["skipped"]) == (5, 4, {"unknown label": 1})
    assert report["pictures"] == {
        "test": {"fear": 2},
        "train": {"neutral": 1, "happiness": 1},
    }
    assert report["split"] == {"how": "by the data set", "train": 2, "test": 2}
    assert report["people"] == {"test": 2, "train": 2}
    assert report["people_in_both_splits"] == 1
    assert (report["grey"], report["upscaled"]) == (1, 1)
    assert report["intensity"] == {"known": 1, "source": "asked <twenty> people"}
    assert report["near_duplicates"]["pairs"] == 0
    assert report == json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))


def test_a_face_smaller_than_the_crop_counts_as_enlarged(tmp_path):
    (tmp_path / "in" / "happy").mkdir(parents=True)
    ASTRONAUT.save(tmp_path / "in" / "happy" / "a.png")  # eyes 42 pixels apart, 0.275 * size in it
    enlarged = {
        size: prepare("imagefolder", tmp_path / "in", tmp_path / str(size), size=size)["upscaled"]
        for size in (128, 144, 165, 192)
    }
    assert enlarged == {128: 0, 144: 0, 165: 1, 192: 1}


@pytest.mark.parametrize("quality", [30, 95])
def test_grey_survives_jpeg_and_pale_colours_are_not_grey(quality):
    from data_prep.picture import is_grey

    def saved(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    assert is_grey(saved(PORTRAIT.convert("L").convert("RGB")))
    assert not is_grey(saved(ImageEnhance.Color(PORTRAIT).enhance(0.2)))


def test_how_pictures_were_shared_out_is_told(tmp_path):
    report = prepare("london", london_like(tmp_path / "in"), tmp_path / "out", align=False)
    assert report["split"] == {"how": "by person", "train": 16, "test": 4}
    report = prepare("imagefolder", wild(tmp_path / "wild"), tmp_path / "out2", align=False)
    assert report["split"]["how"] == "by picture"


def test_the_list_of_skipped_files_is_whole_in_the_table_and_short_in_the_report(
    tmp_path, monkeypatch
):
    (tmp_path / "in" / "happy").mkdir(parents=True)
    PORTRAIT.save(tmp_path / "in" / "happy" / "a.png")
    for i in range(9):
        (tmp_path / "in" / "happy" / f"{i},\n.png").touch()
    monkeypatch.setattr(report_room, "LISTED", 4)
    report = prepare("imagefolder", tmp_path / "in", tmp_path / "out", align=False)
    table = pd.read_csv(tmp_path / "out" / "skipped.csv")
    assert list(table["source"]) == [f"happy/{i},\n.png" for i in range(9)]
    assert set(table["reason"]) == {"empty file"}
    assert len(report["skipped_files"]) == 4
    assert report["skipped"] == {"empty file": 9}


def test_names_with_line_ends_stay_in_their_rows(tmp_path):
    names = [f"happy{end}face/{i}{end}.png" for i, end in enumerate(("\r", "\n", "\r\n", "\r\r"))]
    for name in names:
        for path in (tmp_path / "in" / "happy" / name, tmp_path / "in" / "calm" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            PORTRAIT.save(path)
    out = tmp_path / "out"
    prepare("imagefolder", tmp_path / "in", out, align=False, size=16, test_share=0)
    for table, folder in (("train/metadata.csv", "happy"), ("skipped.csv", "calm")):
        expected = sorted(f"{folder}/{name}" for name in names)
        assert sorted(pd.read_csv(out / table)["source"]) == expected
        with (out / table).open(encoding="utf-8", newline="") as file:
            assert sorted(row["source"] for row in csv.DictReader(file)) == expected
    assert b"\r" not in (out / "skipped.csv").read_bytes().splitlines(keepends=True)[0]


# ---------------------------------------------------------------------------- near-duplicates


def test_pairs_are_those_that_scipy_finds_across_all_chunks():
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (CHUNK + 300, BITS // 8), dtype=np.uint8)
    test = random.integers(0, 256, (CHUNK + 20, BITS // 8), dtype=np.uint8)
    for i, j, bits in ((0, 0, 0), (CHUNK + 299, CHUNK + 19, 12), (7, CHUNK, 12), (CHUNK, 7, 13)):
        test[j] = train[i]
        test[j, :bits] ^= 1  # one bit in each of so many bytes
    distance = cdist(np.unpackbits(train, axis=1), np.unpackbits(test, axis=1), "cityblock")
    expected = sorted((int(distance[i, j]), i, j) for i, j in np.argwhere(distance <= 12))
    pairs, concerned, kept = near_pairs(train.tobytes(), test.tobytes(), 12)
    assert sorted((bits, i, j) for i, j, bits in kept) == expected
    assert (pairs, concerned) == (3, 3)


def test_all_pairs_are_counted_and_few_are_kept():
    same = bytes(BITS // 8)
    pairs, concerned, kept = near_pairs(same * 1100, same * 1050, 0, keep=5)
    assert (pairs, concerned, len(kept)) == (1100 * 1050, 1050, 5)
    assert near_pairs(b"", same, 12) == (0, 0, [])


def test_a_copy_under_another_name_in_the_other_split_is_found_and_shown(tmp_path):
    train, test = (tmp_path / "in" / split / "happy" for split in ("train", "test"))
    for folder in (train, test):
        folder.mkdir(parents=True)
    ASTRONAUT.save(train / "original.png")
    Image.fromarray(skimage.data.chelsea()).save(train / "cat.png")
    brighter = ImageEnhance.Brightness(ASTRONAUT).enhance(1.05)
    brighter.resize((400, 400)).save(test / "copy.jpg", quality=70)
    Image.fromarray(skimage.data.coffee()).save(test / "cup.png")
    out = tmp_path / "out"
    found = prepare("imagefolder", tmp_path / "in", out, align=False)["near_duplicates"]
    assert (found["pairs"], found["test_pictures"]) == (1, 1)
    (pair,) = found["files"]
    assert (out / pair["train"]).read_bytes() != (out / pair["test"]).read_bytes()
    assert "train/original-" in pair["train"]
    assert "test/copy-" in pair["test"]
    assert pair["train"] in (out / "report.html").read_text(encoding="utf-8")


def test_two_labelled_faces_of_one_photograph_are_no_copies(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    pair = Image.new("RGB", (1024, 512))
    pair.paste(ASTRONAUT, (0, 0))
    pair.paste(Image.fromarray(skimage.data.chelsea()).resize((512, 512)), (512, 0))
    pair.save(tmp_path / "in" / "pair.png")

    def records(source):
        for split, left in (("train", 0), ("test", left_of_second)):
            yield Record(
                path=source / "pair.png", bbox=(left, 0, left + 512, 512), split=split,
                expression="fear", native_label="f",
            )  # fmt: skip

    monkeypatch.setitem(LAYOUTS, "pair", Layout(records, "a pair"))
    for left_of_second, pairs in ((512, 0), (0, 1)):
        out = tmp_path / str(left_of_second)
        report = prepare("pair", tmp_path / "in", out, align=False)
        assert report["near_duplicates"]["pairs"] == pairs


def test_crops_must_be_nearer_than_photographs_to_count_as_copies(tmp_path, monkeypatch):
    """Crops of other people are more alike than photographs: fewer bits may differ."""
    faces = {"a": ("train", 0), "b": ("test", NEAR["crops"] + 1)}
    hashes = iter(f"{(1 << bits) - 1:0{BITS // 4}x}" for _ in (0, 1) for _, bits in faces.values())
    monkeypatch.setattr("data_prep.picture.fingerprint", lambda photo: next(hashes))
    for split, _ in faces.values():
        (tmp_path / "in" / split / "happy").mkdir(parents=True)
        PORTRAIT.save(tmp_path / "in" / split / "happy" / "face.png")
    for align, pairs in ((True, 1), (False, 0)):
        out = tmp_path / str(align)
        report = prepare("imagefolder", tmp_path / "in", out, align=align, workers=1)
        assert report["near_duplicates"]["pairs"] == pairs


def bits_between(one, other):
    return (int(fingerprint(one), 16) ^ int(fingerprint(other), 16)).bit_count()


def test_of_real_photographs_copies_are_found_and_other_people_and_faces_are_not(london):
    neutral = [Image.open(p).convert("RGB") for p in sorted(london.glob("neutral_front/*"))[:8]]
    smiling = [Image.open(p).convert("RGB") for p in sorted(london.glob("smiling_front/*"))[:8]]
    for kind, prepared in (
        ("photographs", lambda photo: photo),
        ("crops", lambda photo: photo.crop((150, 120, 490, 460)).resize((128, 128))),
    ):
        for photo, smile in zip(neutral, smiling, strict=True):
            original, file = prepared(photo), io.BytesIO()
            original.save(file, "JPEG", quality=50)
            copies = [
                Image.open(file),
                original.resize([side // 2 for side in original.size]),
                ImageEnhance.Brightness(original).enhance(1.05),
            ]
            assert max(bits_between(original, copy) for copy in copies) <= NEAR[kind]
            assert bits_between(original, prepared(smile)) > NEAR[kind]
        others = [
            bits_between(prepared(a), prepared(b))
            for i, a in enumerate(neutral)
            for b in neutral[:i]
        ]
        assert min(others) > 2 * NEAR[kind]


def test_without_imagehash_the_run_goes_through_and_says_what_is_missing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert not duplicates.available()
    source, out = london_like(tmp_path / "in", people=5), tmp_path / "out"
    main(["london", str(source), str(out), "--no-align", "--workers", "1"])
    assert "pip install imagehash" in capsys.readouterr().out
    assert "pip install imagehash" in (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "report.json").read_text())["near_duplicates"] is None


# ----------------------------------------------------------------------------------- the page


class Page(HTMLParser):
    """What a browser would see: text, attributes, and whether every tag is closed."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.tags, self.images, self.links = [], "", [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        self.links += [attributes[a] for a in ("href", "src") if a in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.seen += " " + data if "style" not in self.open else ""


def test_the_page_is_one_whole_file_that_loads_nothing(small, tmp_path):
    out = tmp_path / "out"
    prepare("small", small, out)
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert {link for link in page.links if not link.startswith("data:")} == {"contact_sheet.png"}
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.images) == 4
    for image in page.images:
        data = base64.b64decode(image["src"].partition("base64,")[2])
        shown, crop = Image.open(io.BytesIO(data)), Image.open(out / image["alt"])
        difference = np.asarray(shown.convert("RGB")).astype(int) - np.asarray(crop)
        assert np.abs(difference).mean() < 8, image["alt"]
    words = " ".join(page.seen.split())
    for sentence in (
        "5 found", "4 used", "1 skipped", "3 people", "1 people are in both",
        "unknown label 1", "1 (25%) have no colours", "1 (25%) are smaller",
        "Known for 1 pictures that are not neutral: asked <twenty> people.", "fear 0 2",
    ):  # fmt: skip
        assert sentence in words, sentence


def test_names_cannot_smuggle_anything_into_the_page(tmp_path):
    evil = '<img src=x onerror="alert(1)">&amp;'
    source = tmp_path / "a <script>alert(1)<b>"
    for split in ("train", "test"):
        (source / split / "happy").mkdir(parents=True)
        ASTRONAUT.save(source / split / "happy" / f"{evil}.png")
        (source / split / "happy" / f"{evil} empty.png").touch()
    prepare("imagefolder", source, tmp_path / "out", align=False)
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert all("onerror" not in image for image in page.images)
    assert "<script>alert(1)<b>" in page.seen
    assert f"{evil} empty.png" in page.seen


def test_the_contact_sheet_shows_every_expression_and_is_the_same_each_time(tmp_path):
    source = tmp_path / "in"
    for name, colour in (("happy", "red"), ("fear", "blue")):
        (source / name).mkdir(parents=True)
        for i in range(15):
            Image.new("RGB", (20, 20), colour).save(source / name / f"{i}.png")
    prepare("imagefolder", source, tmp_path / "out", align=False, size=256)
    prepare("imagefolder", source, tmp_path / "again", align=False, size=256)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))
    assert sheet.shape == (2 * (128 + 24), 10 * 128, 3)  # large crops are shrunk
    assert (sheet[24:152] == (255, 0, 0)).all()  # happiness first, in AffectNet's order
    assert (sheet[176:304] == (0, 0, 255)).all()


# ------------------------------------------------------------------------------- Hugging Face


LOAD = """
import json, sys
from datasets import load_dataset
faces = load_dataset("imagefolder", data_dir=sys.argv[1])
for split, table in faces.items():
    for row in table:
        row["image"] = [row["image"].size, row["image"].mode, row["image"].getpixel((9, 9))]
        print(json.dumps([split, row]))
"""


def test_hugging_face_reads_the_result_with_labels_and_both_splits(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    for name, value in (("HF_HOME", str(tmp_path / "cache")), ("HF_HUB_OFFLINE", "1"),
                        ("HF_DATASETS_OFFLINE", "1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    out = tmp_path / "test of training"  # splits are guessed from names: ours must not mislead
    source = london_like(tmp_path / "in", people=10)
    (source / "neutral_front" / "010_03.jpg").write_bytes(b"")  # something to skip, too
    prepare("london", source, out, align=False, size=32)
    script = [sys.executable, "-c", LOAD, str(out)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert {split for split, _ in read} == {"train", "test"}
    for split in ("train", "test"):
        table = {row["source"]: row for name, row in read if name == split}
        written = {row["source"]: row for row in rows(out, split)}
        assert table.keys() == written.keys()
        for source, row in table.items():
            person = int(written[source]["subject"])
            assert row["expression"] == written[source]["expression"]
            assert row["subject"] == person
            assert row["image"][:2] == [[32, 32], "RGB"]
            assert abs(row["image"][2][0] - 90 - person) <= 2  # the red that its person has


def test_both_tables_have_the_columns_that_are_promised(tmp_path):
    prepare("london", london_like(tmp_path / "in"), tmp_path / "out", align=False)
    for split in ("train", "test"):
        with (tmp_path / "out" / split / "metadata.csv").open(encoding="utf-8") as file:
            assert next(csv.reader(file)) == [
                "file_name", "expression", "intensity", "subject", "source", "native_label"
            ]  # fmt: skip
