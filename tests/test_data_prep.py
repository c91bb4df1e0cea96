"""Data preparation on folders that hold what real folders hold, broken files included."""

import errno
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from folders import PORTRAIT, contents, london_like, rows, wild
from PIL import EpsImagePlugin, Image

from data_prep import LAYOUTS, Record, prepare
from data_prep.__main__ import main
from data_prep.records import Layout, expression_named
from mmagan_lite.detection import Face, align, detect, find_face, load_image

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


# ---------------------------------------------------------------- files that cannot be trusted


def listed(monkeypatch, names, **record):
    """A layout `listed` whose list names these files, whatever they are."""

    def records(source):
        for name in names:
            yield Record(
                **{"path": source / name, "expression": "fear", "native_label": "f", **record}
            )

    monkeypatch.setitem(LAYOUTS, "listed", Layout(records, "a list"))


def reasons(report):
    return {entry["source"]: entry["skipped"] for entry in report["skipped_files"]}


def test_nothing_outside_the_source_is_read_wherever_lists_and_links_point(tmp_path, monkeypatch):
    source, secret = tmp_path / "in", tmp_path / "secret"
    for folder in (source, secret):
        folder.mkdir()
        PORTRAIT.save(folder / "face.png")
    (source / "link.png").symlink_to(secret / "face.png")
    (source / "folder").symlink_to(secret)
    (source / "inner.png").symlink_to(source / "face.png")
    names = ("face.png", "inner.png", "../secret/face.png", "link.png", "folder/face.png",
             str(secret / "face.png"), "../in/face.png")  # fmt: skip
    listed(monkeypatch, names)
    report = prepare("listed", source, tmp_path / "out", align=False)
    assert report["used"] == 3
    assert report["skipped"] == {"outside the source": 4}


def test_what_is_wrong_with_a_file_is_told_in_a_few_words(tmp_path, monkeypatch):
    source = tmp_path / "in"
    (source / "folder.png").mkdir(parents=True)
    PORTRAIT.save(source / "whole.jpg")
    jpeg = (source / "whole.jpg").read_bytes()
    (source / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (source / "empty.jpg").touch()
    (source / "pointer.jpg").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
    )
    (source / "text.jpg").write_text("404 not found")
    for side in (10_000, 14_000):  # Pillow warns of the first and refuses the second
        Image.new("1", (side, side)).save(source / f"bomb{side}.png")
    Image.new("RGB", (8, 300)).save(source / "thin.png")
    os.mkfifo(source / "pipe.png")
    (source / "gone.png").symlink_to(source / "nothing.png")
    (source / "circle.png").symlink_to(source / "circle.png")
    listed(monkeypatch, [*sorted(path.name for path in source.iterdir()), "never.png"])
    report = prepare("listed", source, tmp_path / "out", align=False)
    assert reasons(report) == {
        "bomb10000.png": "too large",
        "bomb14000.png": "too large",
        "circle.png": "missing file",
        "cut.jpg": "unreadable",
        "empty.jpg": "empty file",
        "folder.png": "unreadable",
        "gone.png": "missing file",
        "never.png": "missing file",
        "pipe.png": "unreadable",
        "pointer.jpg": "Git LFS pointer",
        "text.jpg": "unreadable",
        "thin.png": "too small",
    }
    details = {entry["source"]: entry["detail"] for entry in report["skipped_files"]}
    assert "git lfs pull" in details["pointer.jpg"]
    assert "more than 89.5 megapixels" in details["bomb10000.png"]


def test_postscript_is_no_picture_whatever_it_is_called(tmp_path, monkeypatch):
    """Pillow would start Ghostscript for it."""
    (tmp_path / "in").mkdir()
    PORTRAIT.save(tmp_path / "in" / "photo.jpg", "EPS")
    PORTRAIT.save(tmp_path / "in" / "whole.jpg")
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a))
    listed(monkeypatch, ["photo.jpg", "whole.jpg"])
    report = prepare("listed", tmp_path / "in", tmp_path / "out", align=False)
    assert (reasons(report), started) == ({"photo.jpg": "unreadable"}, [])
    with pytest.raises(ValueError, match="not a readable picture"):
        load_image(tmp_path / "in" / "photo.jpg")
    assert started == []


def test_names_may_hold_anything_that_the_disk_takes(tmp_path):
    folder = tmp_path / "in" / "happy"
    folder.mkdir(parents=True)
    names = ["two  blanks .png", "улыбка.png", "笑顔.png", "ابتسامة.png", "a,\"b\".png",
             "\U00010400" * 62 + ".png", "train-00001-of-00002.png", "#1.png"]  # fmt: skip
    for name in names:
        PORTRAIT.save(folder / name)
    odd = os.fsdecode(b"latin-\xe9.png")  # not UTF-8: as old archives leave it
    try:
        shutil.copy(folder / "#1.png", folder / odd)
    except OSError:  # macOS refuses such names
        odd = None
    out = tmp_path / "out"
    report = prepare("imagefolder", tmp_path / "in", out, align=False, size=16, workers=2)
    assert report["used"] == len(names) + (odd is not None)
    table = [(split, row) for split in report["pictures"] for row in rows(out, split)]
    assert {row["source"] for _, row in table} >= {f"happy/{name}" for name in names}
    assert all((out / split / row["file_name"]).is_file() for split, row in table)


def test_the_source_is_only_read(tmp_path):
    source = wild(tmp_path / "in")
    tree = [source, *source.rglob("*")]
    for path in tree:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tree}
    try:
        assert prepare("imagefolder", source, tmp_path / "out", align=False)["used"] == 6
    finally:
        after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tree}
        for path in tree:
            path.chmod(0o755)
    assert after == before
    assert set(source.rglob("*")) == set(tree[1:])


# ----------------------------------------------------------------------- what the data set says


def only_crop(out):
    (path,) = out.glob("*/*.png")
    return Image.open(path)


def test_landmarks_of_the_data_set_spare_the_detector(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "in" / "cup.png")  # without a face
    five = ((250, 150), (330, 170), (280, 200), (245, 240), (310, 255))
    listed(monkeypatch, ["cup.png"], landmarks=five)
    prepare("listed", tmp_path / "in", tmp_path / "out", size=64)
    expected, transform = align(tmp_path / "in" / "cup.png", Face((0, 0, 9, 9), None, five), 64)
    assert np.array_equal(np.asarray(only_crop(tmp_path / "out")), np.asarray(expected))
    left, right = transform(np.array(five[:2]))
    assert left[1] == pytest.approx(right[1])  # level


def test_boxes_and_landmarks_that_cannot_be_are_refused_before_they_cost_memory(
    tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    PORTRAIT.save(tmp_path / "in" / "a.png")
    impossible = [
        {"bbox": (0, 0, 90_000, 90_000)}, {"bbox": (50, 50, 50, 80)}, {"bbox": (80, 0, 20, 60)},
        {"bbox": (300, 300, 340, 340)}, {"bbox": (0, 0, float("nan"), 9)},
        {"landmarks": ((5, 5),) * 5}, {"landmarks": ((9e4, 9e4), (9.1e4, 9e4), (9e4, 9.2e4)) * 2},
    ]  # fmt: skip

    def records(source):
        yield Record(path=source / "a.png", expression="fear", native_label="f")
        for place in impossible:
            path = source / "a.png"
            yield Record(path=path, expression="fear", native_label="f", **place)

    monkeypatch.setitem(LAYOUTS, "places", Layout(records, "a list"))
    report = prepare("places", tmp_path / "in", tmp_path / "out")
    assert report["skipped"] == {"impossible box": len(impossible)}


def test_a_picture_in_a_table_comes_out_pixel_by_pixel(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "faces.csv").write_text("a table")
    levels = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    listed(monkeypatch, ["faces.csv"], pixels=levels.tobytes(), row=3)
    report = prepare("listed", tmp_path / "in", tmp_path / "out", size=48, align=False)
    assert (report["grey"], report["upscaled"]) == (1, 0)
    assert np.array_equal(np.asarray(only_crop(tmp_path / "out"))[:, :, 1], levels)
    (split,) = report["pictures"]
    assert rows(tmp_path / "out", split)[0]["source"] == "faces.csv#3"


def test_a_problem_that_the_layout_saw_is_the_reason(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    PORTRAIT.save(tmp_path / "in" / "a.png")
    PORTRAIT.save(tmp_path / "in" / "b.png")

    def records(source):
        record = {"expression": "fear", "native_label": "f"}
        yield Record(path=source / "a.png", problem=("two labels", "f and h"), **record)
        yield Record(path=source / "b.png", **record)

    monkeypatch.setitem(LAYOUTS, "problems", Layout(records, "a list"))
    report = prepare("problems", tmp_path / "in", tmp_path / "out", align=False)
    assert report["skipped_files"] == [
        {"source": "a.png", "skipped": "two labels", "detail": "f and h"}
    ]


@pytest.mark.parametrize("crops", [True, False])
def test_whether_faces_are_searched_is_for_the_layout_to_say_unless_told(
    tmp_path, monkeypatch, crops
):
    (tmp_path / "in").mkdir()
    PORTRAIT.save(tmp_path / "in" / "a.png")
    listed(monkeypatch, ["a.png"])
    monkeypatch.setitem(LAYOUTS, "listed", LAYOUTS["listed"]._replace(crops=crops))
    arguments = ["listed", str(tmp_path / "in"), "--workers", "1"]
    main([*arguments, str(tmp_path / "default")])
    main([*arguments, str(tmp_path / "told"), "--align" if crops else "--no-align"])
    middle, aligned = PORTRAIT.resize((128, 128)), align(PORTRAIT, find_face(PORTRAIT))[0]
    for out, expected in (("default", middle if crops else aligned),
                          ("told", aligned if crops else middle)):  # fmt: skip
        difference = np.asarray(only_crop(tmp_path / out)).astype(int) - np.asarray(expected)
        assert np.abs(difference).mean() < 5


def test_long_words_of_a_data_set_are_cut_where_they_are_noted(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    PORTRAIT.save(tmp_path / "in" / "a.png")
    record = {"path": tmp_path / "in" / "a.png", "native_label": "f" * 100 + "g" * 10**6}

    def records(source):
        yield Record(expression="fear", **record)
        yield Record(expression=None, **record)

    monkeypatch.setitem(LAYOUTS, "long", Layout(records, "a list"))
    out = tmp_path / "out"
    report = prepare("long", tmp_path / "in", out, align=False, test_share=0)
    cut = "f" * 99 + "…" + "g" * 100
    assert [row["native_label"] for row in rows(out, "train")] == [cut]
    assert [entry["detail"] for entry in report["skipped_files"]] == [cut]


def test_all_faces_of_one_photograph_are_in_one_split(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for i in range(20):
        PORTRAIT.save(tmp_path / "in" / f"{i}.png")

    def records(source):
        for row in range(60):
            path = source / f"{row % 20}.png"
            yield Record(path=path, row=row, expression="fear", native_label="f")

    monkeypatch.setitem(LAYOUTS, "groups", Layout(records, "a list"))
    out = tmp_path / "out"
    report = prepare("groups", tmp_path / "in", out, align=False, size=16, test_share=0.5)
    photographs = [{row["source"].split("#")[0] for row in rows(out, s)} for s in ("train", "test")]
    assert photographs[0].isdisjoint(photographs[1])
    assert report["used"] == len(list(out.glob("*/*.png"))) == 60


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
        Image.new("RGB", (16, 16), "red").save(tmp_path / "in" / "happy" / f"{i}.png")
    prepare("imagefolder", tmp_path / "in", tmp_path / "out", align=False, size=16)
    held_out = {row["source"] for row in rows(tmp_path / "out", "test")}
    assert 20 <= len(held_out) <= 60
    for path in list((tmp_path / "in" / "happy").iterdir())[::2]:
        path.unlink()
    prepare("imagefolder", tmp_path / "in", tmp_path / "half", align=False, size=16)
    assert {row["source"] for row in rows(tmp_path / "half", "test")} <= held_out


def test_the_rows_of_a_table_are_split_one_by_one(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "faces.csv").write_text("a table")
    grey = bytes(range(256))

    def records(source):
        for row in range(60):
            path = source / "faces.csv"
            yield Record(path=path, row=row, pixels=grey, expression="fear", native_label="f")

    monkeypatch.setitem(LAYOUTS, "table", Layout(records, "a table"))
    report = prepare("table", tmp_path / "in", tmp_path / "out", align=False, test_share=0.5)
    assert 15 <= report["split"]["test"] <= 45


@pytest.mark.parametrize(
    ("label", "expression"),
    [("Happy", "happiness"), ("SURPRISED", "surprise"), (" joy_", "happiness"), ("Fear", "fear"),
     ("angry", "anger"), ("Contempt", "contempt"), ("3", None), ("unhappyish", None), ("", None)],
)  # fmt: skip
def test_labels_map_by_name_and_never_by_number(label, expression):
    assert expression_named(label) == expression


# ------------------------------------------------------------------------------ whole runs


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


def test_a_set_without_test_pictures_says_so(tmp_path, capsys):
    for people, said in ((2, True), (20, False)):
        source, out = london_like(tmp_path / str(people), people=people), tmp_path / f"to{people}"
        main(["london", str(source), str(out), "--no-align", "--workers", "1"])
        assert (out / "test").exists() != said
        assert ("test: no pictures" in capsys.readouterr().out) == said


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


def test_folders_that_cannot_be_written_get_one_sentence(tmp_path):
    source = london_like(tmp_path / "in", people=1)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for dest, said in (("x" * 300, "File name too long; choose a shorter name"),
                       ("circle", "File exists; choose another folder")):  # fmt: skip
        with pytest.raises(SystemExit, match=rf"data_prep: \S+: {said}\.$"):
            main(["london", str(source), str(tmp_path / dest), "--workers", "1"])
    with pytest.raises(SystemExit, match="circle does not exist; the layout"):
        main(["london", str(tmp_path / "circle"), str(tmp_path / "out")])


def test_a_folder_without_permission_gets_one_sentence(tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    source = london_like(tmp_path / "in", people=1)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SystemExit, match=r"/out: Permission denied; allow it or choose another"):
        main(["london", str(source), str(tmp_path / "out"), "--no-align", "--workers", "1"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize("reader", ["gone", "full", "ascii"])
def test_a_summary_that_cannot_be_shown_spoils_nothing(tmp_path, monkeypatch, reader):
    source, out = london_like(tmp_path / "in", people=1), tmp_path / "façade"
    arguments = ["london", str(source), str(out), "--no-align", "--workers", "1"]
    prepare("london", source, out, align=False)
    if reader == "gone":
        end, start = os.pipe()
        os.close(end)
        stdout = os.fdopen(start, "w")
    elif reader == "full":
        stdout = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    else:
        stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with stdout, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        if reader == "full":
            with pytest.raises(SystemExit, match=r"is prepared, but .* \(No space left"):
                main(arguments)
        else:
            main(arguments)
        if reader == "ascii":
            assert b"fa\\xe7ade is already prepared" in stdout.buffer.getvalue()


# --------------------------------------------------------------------------- real photographs


def test_real_people_come_out_upright_and_framed(tmp_path, london):
    for kind, take in (("neutral_front", "03"), ("smiling_front", "08")):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for person in ("001", "002", "135"):
            shutil.copy(london / kind / f"{person}_{take}.jpg", tmp_path / "in" / kind)
    assert len(detect(london / "neutral_front" / "135_03.jpg")) == 1  # an ear looks like a face
    report = prepare("london", tmp_path / "in", tmp_path / "out", size=256, test_share=0.34)
    assert report["used"] == 6
    assert report["people"] == {"test": 1, "train": 2}
    for path in (tmp_path / "out").glob("*/*.png"):
        face = find_face(load_image(path))
        left, right = np.array(face.landmarks[:2])
        assert abs(left[1] - right[1]) < 6, path
        assert np.abs((left + right) / 2 - [128, 110]).max() < 8, path
        assert 0.7 < (face.box[3] - face.box[1]) / 256 < 0.95, path
