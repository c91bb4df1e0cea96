"""Data preparation on folders that hold what real folders hold, broken files included."""

import csv
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from data_prep import LAYOUTS, Record, prepare
from data_prep.__main__ import main
from data_prep.journal import Journal
from data_prep.records import Layout, expression_named
from mmagan_lite.detection import align, detect, find_face, load_image

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
PORTRAIT = ASTRONAUT.crop((100, 0, 356, 256))
LONDON = Path(__file__).parents[2] / "shared" / "london"


def london_like(folder, people=10):
    """A folder in the layout of the London set, with one grey square a person."""
    for kind, take in (("neutral_front", "03"), ("smiling_front", "08")):
        (folder / kind).mkdir(parents=True)
        for person in range(1, people + 1):
            square = Image.new("RGB", (40, 40), (person, 0, 0))
            square.save(folder / kind / f"{person:03}_{take}.jpg")
    return folder


def wild(folder):
    """A folder of expressions with everything that goes wrong in one."""
    for name in ("Happy", "SADNESS", "neutral", "angry", "calm"):
        (folder / name).mkdir(parents=True)
    PORTRAIT.save(folder / "Happy" / "façade 笑.jpg")
    PORTRAIT.convert("L").save(folder / "SADNESS" / "grey.PNG")
    PORTRAIT.convert("CMYK").save(folder / "neutral" / "print.jpeg")
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = PORTRAIT.transpose(Image.Transpose.ROTATE_90)
    lying.save(folder / "angry" / "phone.jpg", exif=exif)
    whole = (folder / "neutral" / "print.jpeg").read_bytes()
    (folder / "angry" / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    Image.fromarray(skimage.data.coffee()).save(folder / "neutral" / "cup.jpg")
    pair = Image.new("RGB", (512, 256))
    pair.paste(PORTRAIT, (0, 0))
    pair.paste(PORTRAIT, (256, 0))
    pair.save(folder / "Happy" / "pair.png")
    PORTRAIT.save(folder / "calm" / "calm.jpg")
    (folder / "Happy" / "Thumbs.db").write_bytes(b"not a picture")
    (folder / "Happy" / "._pair.png").write_bytes(b"Mac OS X resource fork")
    return folder


def rows(dest, split):
    with (dest / split / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------------- what gets written


def test_every_file_is_used_or_skipped_for_its_reason(tmp_path):
    report = prepare("imagefolder", wild(tmp_path / "in"), tmp_path / "out", test_share=0)
    assert report["found"] == 8
    assert report["used"] == 4
    skipped = {entry["source"]: entry["skipped"] for entry in report["skipped_files"]}
    assert skipped == {
        "angry/cut.jpg": "unreadable",
        "calm/calm.jpg": "unknown label",
        "neutral/cup.jpg": "no face",
        "Happy/pair.png": "several faces",
    }
    assert report == json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    table = {row["source"]: row for row in rows(tmp_path / "out", "train")}
    assert {source: row["expression"] for source, row in table.items()} == {
        "Happy/façade 笑.jpg": "happiness",
        "SADNESS/grey.PNG": "sadness",
        "neutral/print.jpeg": "neutral",
        "angry/phone.jpg": "anger",
    }
    assert table["neutral/print.jpeg"]["intensity"] == "0.0"
    assert table["Happy/façade 笑.jpg"]["intensity"] == ""
    assert table["SADNESS/grey.PNG"]["native_label"] == "SADNESS"


def test_whatever_the_mode_or_rotation_of_the_file_the_same_face_comes_out(tmp_path):
    out = tmp_path / "out"
    prepare("imagefolder", wild(tmp_path / "in"), out, test_share=0)
    truth = np.asarray(align(PORTRAIT, find_face(PORTRAIT))[0].convert("L")).astype(int)
    for row in rows(out, "train"):
        with Image.open(out / "train" / row["file_name"]) as crop:
            assert (crop.size, crop.mode) == ((128, 128), "RGB")
            difference = np.abs(np.asarray(crop.convert("L")).astype(int) - truth)
        assert difference.mean() < 12, row


def test_hugging_face_would_read_the_result(tmp_path):
    """Its imagefolder reads metadata.csv by pandas and demands equal types in all splits."""
    prepare("london", london_like(tmp_path / "in"), tmp_path / "out", align=False)
    tables = {s: pd.read_csv(tmp_path / "out" / s / "metadata.csv") for s in ("train", "test")}
    assert tables["train"].dtypes.equals(tables["test"].dtypes)
    for split, table in tables.items():
        assert table.columns[0] == "file_name"
        files = {path.name for path in (tmp_path / "out" / split).glob("*.png")}
        assert files == set(table["file_name"])
        assert len(files) == len(table)


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    for name in ("happy/a/1.png", "happy/b/1.png", "sad/1.png", "happy/a 1.png", "happy/a_1.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        PORTRAIT.save(tmp_path / "in" / name)
    report = prepare("imagefolder", tmp_path / "in", tmp_path / "out", align=False)
    assert report["used"] == len(list((tmp_path / "out").glob("*/*.png"))) == 5


def test_pictures_of_face_crops_are_taken_whole_without_alignment(tmp_path):
    (tmp_path / "in" / "fear").mkdir(parents=True)
    wide = Image.new("RGB", (64, 32), "red")
    wide.paste("blue", (16, 0, 48, 32))  # the middle square
    wide.save(tmp_path / "in" / "fear" / "wide.png")
    prepare("imagefolder", tmp_path / "in", tmp_path / "out", align=False, size=32, test_share=0)
    (path,) = (tmp_path / "out" / "train").glob("*.png")
    assert Image.open(path).getcolors() == [(32 * 32, (0, 0, 255))]


def test_the_box_of_a_data_set_says_which_face_is_meant(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    pair = Image.new("RGB", (512, 256))
    pair.paste(PORTRAIT, (0, 0))
    pair.paste(PORTRAIT.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (256, 0))
    pair.save(tmp_path / "in" / "pair.png")
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "in" / "unseen.png")

    fear = {"expression": "fear", "native_label": "f", "subject": "1"}

    def boxed(source):
        yield Record(path=source / "pair.png", bbox=(256, 0, 512, 256), **fear)
        yield Record(path=source / "unseen.png", bbox=(10, 20, 110, 140), **fear)

    monkeypatch.setitem(LAYOUTS, "boxed", Layout(boxed, "SOURCE/pair.png"))
    report = prepare("boxed", tmp_path / "in", tmp_path / "out", test_share=0)
    assert report["used"] == 2
    right = max(detect(pair), key=lambda face: face.box[0])
    expected = np.asarray(align(pair, right)[0])
    first = rows(tmp_path / "out", "train")[0]["file_name"]
    with Image.open(tmp_path / "out" / "train" / first) as crop:
        assert np.array_equal(np.asarray(crop), expected)


# ------------------------------------------------------------------------------------- splits


def test_each_person_is_in_one_split_and_the_share_is_exact(tmp_path):
    source = london_like(tmp_path / "in", people=15)
    report = prepare("london", source, tmp_path / "out", align=False, test_share=0.2)
    assert report["people"] == {"test": 3, "train": 12}
    people = [{row["subject"] for row in rows(tmp_path / "out", s)} for s in ("train", "test")]
    assert people[0].isdisjoint(people[1])
    assert report["pictures"]["test"] == {"neutral": 3, "happiness": 3}
    other = prepare("london", source, tmp_path / "other", align=False, seed=1)
    assert other["people"] == {"test": 3, "train": 12}
    assert {row["subject"] for row in rows(tmp_path / "other", "test")} != people[1]


def test_a_split_of_the_data_set_is_kept_and_validation_counts_as_test(tmp_path):
    for name in ("Train/happy/1", "Train/happy/2", "val/happy/3", "test/happy/4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        PORTRAIT.save(tmp_path / "in" / f"{name}.png")
    prepare("imagefolder", tmp_path / "in", tmp_path / "out", align=False, test_share=0.5)
    stems = {s: {row["source"][-5] for row in rows(tmp_path / "out", s)} for s in ("train", "test")}
    assert stems == {"train": {"1", "2"}, "test": {"3", "4"}}


def test_without_people_files_are_split_by_name_near_the_share(tmp_path):
    (tmp_path / "in" / "happy").mkdir(parents=True)
    for i in range(200):
        Image.new("RGB", (16, 16)).save(tmp_path / "in" / "happy" / f"{i}.png")
    prepare("imagefolder", tmp_path / "in", tmp_path / "out", align=False, size=16)
    held_out = {row["source"] for row in rows(tmp_path / "out", "test")}
    assert 20 <= len(held_out) <= 60
    for path in list((tmp_path / "in" / "happy").iterdir())[::2]:
        path.unlink()
    prepare("imagefolder", tmp_path / "in", tmp_path / "half", align=False, size=16)
    assert {row["source"] for row in rows(tmp_path / "half", "test")} <= held_out


@pytest.mark.parametrize(
    ("label", "expression"),
    [("Happy", "happiness"), ("SURPRISED", "surprise"), (" joy_", "happiness"), ("Fear", "fear"),
     ("angry", "anger"), ("Contempt", "contempt"), ("3", None), ("unhappyish", None), ("", None)],
)  # fmt: skip
def test_labels_map_by_name_and_never_by_number(label, expression):
    assert expression_named(label) == expression


# ------------------------------------------------------------------ stopping, resuming, errors


def test_a_run_that_was_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    prepare("london", source, tmp_path / "whole", align=False)

    add, calls = Journal.add, []

    def add_until_killed(journal, crop, entry):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(entry)
        add(journal, crop, entry)

    monkeypatch.setattr(Journal, "add", add_until_killed)
    with pytest.raises(KeyboardInterrupt):
        prepare("london", source, out, align=False)
    monkeypatch.undo()
    assert sum(len(rows(out, s.name)) for s in out.iterdir() if s.is_dir()) == 7
    assert not (out / "report.json").exists()
    with (out / "progress.jsonl").open("a") as journal:
        journal.write('{"source": "torn')  # as a kill in the middle of a line leaves it
    (out / "train" / "half.png.partial").write_bytes(b"half a picture")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.png")}

    prepare("london", source, out, align=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # none is redone
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_folder_is_left_alone_and_says_so(tmp_path, capsys):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    arguments = ["london", str(source), str(out), "--no-align", "--workers", "1"]
    main(arguments)
    assert "20 pictures found, 20 used; skipped: none." in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    main(arguments)
    assert "already prepared; nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(SystemExit, match=r"other options .*size was 128, now 64"):
        main([*arguments, "--size", "64"])


def test_a_full_disk_leaves_nothing_half_written_and_the_run_can_go_on(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    replace, calls = os.replace, []

    def full_after_nine(old, new):
        calls.append(new)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(os, "replace", full_after_nine)
    with pytest.raises(SystemExit, match="No space left on device"):
        main(["london", str(source), str(out), "--no-align", "--workers", "1"])
    monkeypatch.undo()
    assert not list(out.rglob("*.partial"))
    for path in out.glob("*/*.png"):
        Image.open(path).load()
    for path in out.glob("*/metadata.csv"):
        assert all((path.parent / row["file_name"]).exists() for row in rows(out, path.parent.name))
    assert prepare("london", source, out, align=False)["used"] == 20


def test_a_disk_that_fills_up_in_the_middle_of_a_note_is_told_as_such(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    add = Journal.add

    def add_until_full(journal, crop, entry):
        if journal.done == 5:
            journal.file.write('{"source": "to')
            journal.file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")
        add(journal, crop, entry)

    monkeypatch.setattr(Journal, "add", add_until_full)
    with pytest.raises(OSError, match="No space left on device"):
        prepare("london", source, out, align=False)
    monkeypatch.undo()
    assert prepare("london", source, out, align=False)["used"] == 20


def test_several_processes_write_the_same_bytes_as_one(tmp_path):
    source = wild(tmp_path / "in")
    prepare("imagefolder", source, tmp_path / "one", workers=1)
    prepare("imagefolder", source, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    ("layout", "source", "sentence"),
    [
        ("lodnon", "in", "Unknown layout 'lodnon'; expected one of london, imagefolder"),
        ("london", "nowhere", "nowhere does not exist; the layout london expects SOURCE/neutral_"),
        ("london", "empty", "empty is empty; the layout london expects"),
        ("london", "in/neutral_front", r"expects .* Did you mean \S+/in\?"),
        ("london", ".", r"expects .* Did you mean \S+/in\?"),
        ("imagefolder", "in", "in holds neutral_front, smiling_front, but the layout imagefolder"),
        ("imagefolder", "numbers", "numbers holds 0, 1, but .* named after expressions"),
        ("imagefolder", "faces/train/happy", r"Did you mean \S+/train\?"),
        ("london", "in/neutral_front/001_03.jpg", "is not a folder"),
    ],
)
def test_a_wrong_source_gets_one_sentence_and_nothing_is_written(
    tmp_path, layout, source, sentence
):
    london_like(tmp_path / "in", people=1)
    (tmp_path / "empty").mkdir()
    for name in ("numbers/0", "numbers/1", "faces/train/happy"):
        (tmp_path / name).mkdir(parents=True)
        PORTRAIT.save(tmp_path / name / "a.jpg")
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        prepare(layout, tmp_path / source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_or_inside_the_source_is_not_written_to(tmp_path):
    source = london_like(tmp_path / "in", people=1)
    with pytest.raises(ValueError, match="lies in the source"):
        prepare("london", source, source / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and was not prepared"):
        prepare("london", source, tmp_path / "out")
    assert list(contents(tmp_path / "out")) == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"size": 8}, "16 to 1024"), ({"workers": 0}, "at least 1"), ({"test_share": 1}, "0 to 0.9")],
)
def test_a_wrong_option_gets_one_sentence(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        prepare("london", london_like(tmp_path / "in", people=1), tmp_path / "out", **options)


# --------------------------------------------------------------------------- real photographs


@pytest.mark.skipif(not LONDON.is_dir(), reason="the London photographs are not on this machine")
def test_real_people_come_out_upright_and_framed(tmp_path):
    for kind, take in (("neutral_front", "03"), ("smiling_front", "08")):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for person in ("001", "002", "135"):
            shutil.copy(LONDON / kind / f"{person}_{take}.jpg", tmp_path / "in" / kind)
    assert len(detect(LONDON / "neutral_front" / "135_03.jpg")) == 1  # an ear looks like a face
    report = prepare("london", tmp_path / "in", tmp_path / "out", size=256, test_share=0.34)
    assert report["used"] == 6
    assert report["people"] == {"test": 1, "train": 2}
    for path in (tmp_path / "out").glob("*/*.png"):
        face = find_face(load_image(path))
        left, right = np.array(face.landmarks[:2])
        assert abs(left[1] - right[1]) < 6, path
        assert np.abs((left + right) / 2 - [128, 110]).max() < 8, path
        assert 0.7 < (face.box[3] - face.box[1]) / 256 < 0.95, path
