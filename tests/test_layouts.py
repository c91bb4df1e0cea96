"""Each layout on a tiny data set in the official form, against expectations written by hand."""

import os

import data_sets
import numpy as np
import pytest

from data_prep import LAYOUTS, prepare
from data_prep.records import (
    Record,
    box,
    by_name,
    code,
    five_points,
    frames,
    innermost,
    listed,
    paired,
    pictures,
    rising,
    rows,
)

NEUTRAL, HAPPY, SAD, ANGRY = "neutral", "happiness", "sadness", "anger"


@pytest.fixture
def made(tmp_path):
    """Write a data set and read its records; a name gives the same folder every time."""

    def make(layout, **options):
        source = tmp_path / layout
        if not source.exists():
            source.mkdir()
            getattr(data_sets, layout)(source, **options)
        return source, list(LAYOUTS[layout].records(source))

    return make


def told(source, records, *fields):
    """What the records say, by their names, of which there are no two alike."""
    names = [record.name(source) for record in records]
    assert len(names) == len(set(names))
    said = (tuple(getattr(record, field) for field in fields) for record in records)
    said = (values if len(fields) > 1 else values[0] for values in said)
    return dict(zip(names, said, strict=True))


def reasons(source, records):
    problems = {r.name(source): r.problem and r.problem[0] for r in records}
    return {name: reason for name, reason in problems.items() if reason}


# ------------------------------------------------------------------- through the whole pipeline

USED_AND_SKIPPED = {
    "london": (6, {}),
    "imagefolder": (
        14, {"unknown label": 1, "unreadable": 1, "Git LFS pointer": 1, "empty file": 1},
    ),
    "affectnet_csv": (
        6,
        {"unknown label": 3, "known to be broken": 1, "missing file": 1, "unreadable": 1,
         "outside the source": 5, "no file name": 1},
    ),
    "affectnet_npy": (
        4, {"missing file": 1, "annotation missing": 1, "annotation unreadable": 2,
            "unknown label": 1},
    ),
    "affectnet_plus": (
        4, {"unknown label": 1, "annotation unreadable": 1, "annotation missing": 1,
            "missing file": 1},
    ),
    "rafdb": (4, {"missing file": 1, "outside the source": 1}),
    "fer2013": (
        3, {"no majority": 1, "not a face": 2, "unknown label": 1, "not 48 x 48 pixels": 1},
    ),
    "celeba": (4, {}),
    "ckplus": (8, {"missing file": 1}),
    "oulu": (7, {}),
    "mug": (9, {}),
    "kdef": (6, {"misnamed": 2, "full profile": 1, "all black": 1}),
    "jaffe": (6, {"misnamed": 1}),
    "cfd": (8, {"misnamed": 1}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_picture_of_a_layout_is_used_or_skipped_for_its_reason(layout, tmp_path, made):
    source, records = made(layout)
    report = prepare(layout, source, tmp_path / "out", size=16, align=False)
    used, skipped = USED_AND_SKIPPED[layout]
    assert (report["used"], report["skipped"]) == (used, skipped)
    assert report["found"] == len(records) == used + sum(skipped.values())
    assert len(list((tmp_path / "out").glob("*/*.png"))) == used


def test_every_layout_names_its_folder_and_the_worth_of_its_intensities(made):
    for name, layout in LAYOUTS.items():
        source, records = made(name)
        assert layout.fits(source), name
        assert "SOURCE" in layout.expected
        graded = any(r.intensity is not None for r in records if r.expression != NEUTRAL)
        assert graded == bool(layout.intensity), name
        assert all(r.intensity == 0 for r in records if r.expression == NEUTRAL), name
        assert all(0 <= (r.intensity or 0) <= 1 for r in records), name


def test_records_come_in_the_same_order_each_time(made):
    for name in LAYOUTS:
        source, records = made(name)
        assert list(LAYOUTS[name].records(source)) == records, name


# ------------------------------------------------------------------------------------ open sets


def test_london(made):
    assert told(*made("london"), "expression", "subject", "native_label") == {
        f"{folder}/{person}_{take}.jpg": (expression, person, folder)
        for folder, take, expression in [
            ("neutral_front", "03", NEUTRAL), ("smiling_front", "08", HAPPY),
        ]
        for person in ("001", "002", "135")
    }  # fmt: skip


def test_imagefolder_takes_labels_by_name_and_levels_by_name(made):
    source, records = made("imagefolder")
    low, medium = pytest.approx(1 / 3), pytest.approx(2 / 3)
    assert told(source, records, "expression", "intensity", "split") == {
        "Train/Happy/façade 笑.JPG": (HAPPY, None, "train"),
        "Train/Happy/cut.jpg": (HAPPY, None, "train"),
        "Train/happiness/grey.png": (HAPPY, None, "train"),
        "Train/HAPPINESS/print.jpeg": (HAPPY, None, "train"),
        "Train/sad/palette.png": (SAD, None, "train"),
        "Train/sad/glass.png": (SAD, None, "train"),
        "Train/sad/pointer.jpg": (SAD, None, "train"),
        "Train/sad/empty.png": (SAD, None, "train"),
        "Train/neutral/phone.jpg": (NEUTRAL, 0.0, "train"),
        "Train/neutral/strong/a.png": (NEUTRAL, 0.0, "train"),
        "Train/fear/Low/a.png": ("fear", low, "train"),
        "Train/fear/medium/a.png": ("fear", medium, "train"),
        "Train/fear/HIGH/a.png": ("fear", 1.0, "train"),
        "Train/angry/normal/a.png": (ANGRY, 0.5, "train"),
        "Train/angry/strong/a.png": (ANGRY, 1.0, "train"),
        "Train/disgust/2/a.png": ("disgust", None, "train"),
        "Train/calm/a.png": (None, None, "train"),
        "val/surprised/b.webp": ("surprise", None, "test"),
    }


# ------------------------------------------------------------------------------- AffectNet family


def test_affectnet_csv_reads_lists_with_and_without_a_header(made):
    source, records = made("affectnet_csv")
    images = "Manually_Annotated_Images/Manually_Annotated_Images"
    named = told(source, records, "expression", "native_label", "split")
    assert named[f"{images}/1/aa.JPG"] == (HAPPY, "1", "train")
    assert named[f"{images}/1/bb.TIF"] == (NEUTRAL, "0", "train")
    assert named[f"{images}/2/cc.png"] == ("contempt", "7", "train")
    assert named[f"{images}/2/dd.bmp"] == (None, "10", "train")
    assert named[f"{images}/2/ee.jpeg"] == (None, "11", "train")
    assert named[f"{images}/6/aa.JPG"] == (ANGRY, "6", "train")  # a link within the source
    assert named[f"{images}/3/vv.jpg"] == (SAD, "2", "test")
    automatic = "Automatically_Annotated/Automatically_Annotated_Images/9/zz.jpg"
    assert named[automatic] == ("fear", "4", "train")
    assert len(records) == 18


def test_affectnet_csv_gives_boxes_and_landmarks_where_they_are_possible(made):
    places = told(*made("affectnet_csv"), "bbox", "landmarks")
    images = "Manually_Annotated_Images/Manually_Annotated_Images"
    assert places[f"{images}/1/aa.JPG"] == ((4, 5, 24, 35), data_sets.EYES_APART)
    assert places[f"{images}/1/bb.TIF"] == ((4, 5, 24, 35), None)
    assert places[f"{images}/2/cc.png"] == (None, None)
    assert places[f"{images}/2/dd.bmp"] == (None, None)


def test_affectnet_csv_says_what_the_lists_show_to_be_unusable(made):
    source, records = made("affectnet_csv")
    lists, images = "Manually_Annotated_file_lists/training.csv", "Manually_Annotated_Images"
    assert reasons(source, records) == {
        f"{images}/{images}/{data_sets_broken()}": "known to be broken",
        f"{lists}#9": "outside the source",
        f"{lists}#10": "outside the source",
        f"{lists}#11": "outside the source",
        f"{lists}#12": "outside the source",
        f"{lists}#14": "outside the source",
        f"{lists}#15": "no file name",
    }
    details = {r.problem[1] for r in records if r.problem and r.problem[0].startswith("outside")}
    assert {"../../../secret.jpg", "4/link.jpg", "5/secret.jpg", "7/nul\0.jpg"} <= details


def data_sets_broken():
    return "103/29a31ebf1567693f4644c8ba3476ca9a72ee07fe67a5860d98707a0a.jpg"


def test_affectnet_npy(made):
    source, records = made("affectnet_npy")
    five = data_sets.EYES_APART
    assert told(source, records, "expression", "native_label", "split", "landmarks") == {
        "train_set/images/0.jpg": (HAPPY, "1", "train", five),
        "train_set/images/2.jpg": ("contempt", "7", "train", five),
        "train_set/images/10.jpg": (NEUTRAL, "0", "train", None),
        "train_set/images/11.jpg": (None, "", "train", None),
        "train_set/images/12.jpg": (None, "9", "train", None),
        "train_set/images/13.jpg": (None, "", "train", None),
        "train_set/images/14.jpg": (None, "", "train", None),
        "train_set/images/15.jpg": (ANGRY, "6", "train", None),
        "val_set/val_set/images/3.JPG": (SAD, "2", "test", None),
    }
    assert reasons(source, records) == {
        "train_set/images/11.jpg": "annotation missing",
        "train_set/images/13.jpg": "annotation unreadable",
        "train_set/images/14.jpg": "annotation unreadable",
    }
    assert [r.path.stem for r in records[:4]] == ["0", "2", "10", "11"]  # by number


def test_affectnet_plus(made):
    source, records = made("affectnet_plus")
    five = data_sets.EYES_APART
    assert told(source, records, "expression", "intensity", "split", "landmarks") == {
        "part1/train/images/1.jpg": (HAPPY, 0.5, "train", five),
        "part1/train/images/2.jpg": (NEUTRAL, 0.0, "train", five),
        "part1/train/images/3.jpg": (SAD, None, "train", None),
        "part1/train/images/4.jpg": (None, None, "train", None),
        "part1/train/images/5.jpg": (None, None, "train", None),
        "part1/train/images/6.jpg": ("surprise", 0.0, "train", None),
        "part1/train/images/20.jpg": (None, None, "train", None),
        "part2/validation/7.png": ("contempt", 0.125, "test", None),
    }
    assert reasons(source, records) == {
        "part1/train/images/5.jpg": "annotation unreadable",
        "part1/train/images/20.jpg": "annotation missing",
    }


def test_affectnet_plus_reads_nothing_beside_the_source(tmp_path):
    data_sets.affectnet_plus(tmp_path)
    records = list(LAYOUTS["affectnet_plus"].records(tmp_path / "part1" / "train" / "images"))
    assert {r.problem[0] for r in records} == {"annotation missing"}


# ---------------------------------------------------------------------- found on the internet


def test_rafdb_prefers_the_aligned_crops(made):
    source, records = made("rafdb")
    folder, table = "basic/Image/aligned", "basic/EmoLabel/list_patition_label.txt"
    assert told(source, records, "expression", "native_label", "split", "landmarks") == {
        f"{folder}/train_00001_aligned.jpg": ("surprise", "1", "train", None),
        f"{folder}/train_00002_aligned.jpg": ("fear", "2", "train", None),
        f"{folder}/train_00003_aligned.jpg": (NEUTRAL, "7", "train", None),
        f"{folder}/test_0001_aligned.jpg": (HAPPY, "4", "test", None),
        f"{folder}/test_0002_aligned.jpg": (SAD, "5", "test", None),
        f"{table}#6": (ANGRY, "6", None, None),
    }
    assert reasons(source, records) == {f"{table}#6": "outside the source"}


def test_rafdb_takes_the_originals_with_their_landmarks_where_there_are_no_crops(made):
    source, _ = made("rafdb")
    aligned = source / "basic" / "Image" / "aligned"
    aligned.rename(source / "elsewhere")
    _, records = made("rafdb")
    landmarks = told(source, records, "landmarks")
    assert landmarks["basic/Image/original/train_00001.jpg"] == data_sets.EYES_APART
    assert landmarks["basic/Image/original/train_00002.jpg"] == data_sets.EYES_APART
    assert landmarks["basic/Image/original/test_0002.jpg"] is None


def test_ferplus_replaces_the_labels_of_fer2013(made):
    source, records = made("fer2013")
    assert told(source, records, "expression", "intensity", "split", "native_label") == {
        "fer2013.csv#0": (NEUTRAL, 0.0, "train", "neutral"),
        "fer2013.csv#1": (HAPPY, None, "train", "happiness/sadness"),
        "fer2013.csv#2": (NEUTRAL, 0.0, "train", "neutral"),
        "fer2013.csv#3": (None, None, "train", "nf"),
        "fer2013.csv#4": (None, 0.9, "test", "unknown"),
        "fer2013.csv#5": ("surprise", 1.0, "test", "surprise"),
        "fer2013.csv#6": ("fear", 0.6, "test", "fear"),
        "fer2013.csv#7": ("contempt", 0.9, "test", "contempt"),
    }
    assert reasons(source, records) == {
        "fer2013.csv#1": "no majority",
        "fer2013.csv#2": "not a face",
        "fer2013.csv#3": "not a face",
        "fer2013.csv#7": "not 48 x 48 pixels",
    }
    assert records[1].pixels == bytes((40 + i * i) % 256 for i in range(48 * 48))


NATIVE = [ANGRY, "disgust", "fear", HAPPY, SAD, "surprise", NEUTRAL, NEUTRAL]


@pytest.mark.parametrize(
    ("name", "header"),
    [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, pixels, Usage"),
     ("icml_face_data.csv", "emotion, Usage, pixels")],
)  # fmt: skip
def test_fer2013_without_ferplus_in_all_its_headers(made, name, header):
    source, _ = made("fer2013", plus=False)
    lines = (source / "fer2013.csv").read_text().splitlines()[1:]
    if header.endswith("pixels"):
        lines = [",".join(line.split(",")[i] for i in (0, 2, 1)) for line in lines]
    (source / "fer2013.csv").unlink()
    (source / name).write_text("\n".join([header, *lines]))
    (source / "train.csv").write_text("emotion,pixels\n0,1 2 3\n")  # part of the same pictures
    _, records = made("fer2013")
    assert [r.expression for r in records] == NATIVE
    assert [r.split for r in records] == ["train"] * 4 + ["test"] * 4
    assert [r.pixels is None for r in records] == [False] * 7 + [True]
    assert {r.intensity for r in records} == {None, 0.0}


@pytest.mark.parametrize("last", ["256", "-1", "1.5", "three", "1 2", ""])
def test_fer2013_pixels_must_be_2304_grey_levels(made, last):
    source, _ = made("fer2013", plus=False)
    levels = "7 " * (48 * 48 - 1)
    for end, good in ((last, False), ("255", True)):
        (source / "fer2013.csv").write_text(f"emotion,pixels,Usage\n3,{levels}{end},Training\n")
        _, (record,) = made("fer2013")
        assert (record.problem is None) == good


def test_fer2013_as_kaggle_hands_it_out_has_no_labels_to_test_on(made):
    source, _ = made("fer2013", plus=False)
    lines = [line.split(",") for line in (source / "fer2013.csv").read_text().splitlines()]
    (source / "fer2013.csv").unlink()
    (source / "train.csv").write_text("\n".join(",".join(line[:2]) for line in lines[:5]))
    (source / "test.csv").write_text("\n".join(line[1] for line in (lines[0], *lines[5:7])))
    _, records = made("fer2013")
    assert told(source, records, "expression", "split") == {
        **{f"train.csv#{i}": (NATIVE[i], None) for i in range(4)},
        "test.csv#0": (None, None),
        "test.csv#1": (None, None),
    }
    (source / "fer2013new.csv").write_text(data_sets.FERPLUS)
    with pytest.raises(ValueError, match="same order"):
        list(LAYOUTS["fer2013"].records(source))


def test_ferplus_out_of_step_is_refused(made):
    source, _ = made("fer2013")
    table = source / "fer2013new.csv"
    lines = table.read_text().splitlines()
    for wrong in (lines[:-1], [lines[0], *lines[:0:-1]]):
        table.write_text("\n".join(wrong))
        with pytest.raises(ValueError, match="must be in the same order"):
            made("fer2013")


@pytest.mark.parametrize("form", [{}, {"kaggle": True}, {"kaggle": True, "header": False}])
def test_celeba(made, form):
    source, records = made("celeba", **form)
    folder = "img_align_celeba/" * (2 if form else 1)
    five = data_sets.EYES_APART
    people = [None] * 4 if form else ["2880", "2937", "2880", "11"]
    assert told(source, records, "expression", "split", "subject", "landmarks") == {
        f"{folder}000001.jpg": (HAPPY, "train", people[0], five),
        f"{folder}000002.jpg": (NEUTRAL, "train", people[1], five),
        f"{folder}000003.jpg": (HAPPY, "test", people[2], five),
        f"{folder}000004.jpg": (NEUTRAL, "test", people[3], None),
    }
    assert records[1].native_label == "Smiling -1"


def test_celeba_joins_its_tables_by_name_though_lines_are_missing(made):
    source, _ = made("celeba")
    table = source / "list_eval_partition.txt"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[2]]))
    _, records = made("celeba")
    assert [r.split for r in records] == ["train", None, "test", None]
    (source / "list_attr_celeba.txt").write_text("1\nSmiling\n../../secret.jpg 1\n")
    _, (record,) = made("celeba")
    assert record.problem == ("outside the source", "../../secret.jpg")


# ---------------------------------------------------------------------------- made in laboratories


def test_ckplus_counts_intensity_from_the_first_frame_to_the_peak(made):
    source, records = made("ckplus")
    assert told(source, records, "expression", "intensity", "subject", "native_label") == {
        f"cohn-kanade-images/{place}_{number}": (expression, intensity, subject, label)
        for place, number, expression, intensity, subject, label in [
            ("S005/001/S005_001", "1.png", NEUTRAL, 0.0, "S005", "3.0000000e+00"),
            ("S005/001/S005_001", "2.png", "disgust", 0.25, "S005", "3.0000000e+00"),
            ("S005/001/S005_001", "10.png", "disgust", 0.5, "S005", "3.0000000e+00"),
            ("S005/001/S005_001", "11.png", "disgust", 0.75, "S005", "3.0000000e+00"),
            ("S005/001/S005_001", "12.png", "disgust", 1.0, "S005", "3.0000000e+00"),
            ("S037/002/S037_002", "3.png", NEUTRAL, 0.0, "S037", "5.0000000e+00"),
            ("S037/002/S037_002", "4.PNG", HAPPY, 0.5, "S037", "5.0000000e+00"),
            ("S037/002/S037_002", "5.png", HAPPY, 1.0, "S037", "5.0000000e+00"),
            ("S999/001/S999_001", "00000009.png", "surprise", 1.0, "S999", "7.0000000e+00"),
        ]
    }
    given = {name: five for name, five in told(source, records, "landmarks").items() if five}
    assert list(given) == ["cohn-kanade-images/S005/001/S005_001_12.png"]
    assert np.allclose(*given.values(), data_sets.EYES_APART, atol=1e-4)


def test_oulu_uses_visible_strong_light(made):
    strong = "OriginalImg/VL/Strong"
    assert told(*made("oulu"), "expression", "intensity", "subject") == {
        f"{strong}/P001/Happiness/0.jpeg": (NEUTRAL, 0.0, "P001"),
        f"{strong}/P001/Happiness/1.jpeg": (HAPPY, 0.25, "P001"),
        f"{strong}/P001/Happiness/2.jpeg": (HAPPY, 0.5, "P001"),
        f"{strong}/P001/Happiness/9.jpeg": (HAPPY, 0.75, "P001"),
        f"{strong}/P001/Happiness/10.jpeg": (HAPPY, 1.0, "P001"),
        f"{strong}/P080/Sadness/000.jpeg": (NEUTRAL, 0.0, "P080"),
        f"{strong}/P080/Sadness/001.jpeg": (SAD, 1.0, "P080"),
    }


def test_mug_stops_at_the_middle_frame(made):
    anger, neutral = (
        f"subjects3/001/001/{x}/img_000" for x in ("anger/take000", "neutral/take001")
    )
    surprise = "subjects3/052/surprise/take002/img_000"
    assert told(*made("mug"), "expression", "intensity", "subject") == {
        f"{anger}0.jpg": (NEUTRAL, 0.0, "001"),
        f"{anger}1.jpg": (ANGRY, pytest.approx(1 / 3), "001"),
        f"{anger}2.jpg": (ANGRY, pytest.approx(2 / 3), "001"),
        f"{anger}3.jpg": (ANGRY, 1.0, "001"),
        f"{neutral}0.jpg": (NEUTRAL, 0.0, "001"),
        f"{neutral}1.jpg": (NEUTRAL, 0.0, "001"),
        f"{surprise}0.jpg": (NEUTRAL, 0.0, "052"),
        f"{surprise}1.jpg": ("surprise", 0.5, "052"),
        f"{surprise}2.jpg": ("surprise", 1.0, "052"),
    }


def test_kdef(made):
    source, records = made("kdef")
    base = "KDEF_and_AKDEF/KDEF"
    assert told(source, records, "expression", "native_label", "subject") == {
        f"{base}/AF01/AF01AFS.JPG": ("fear", "AF", "F01"),
        f"{base}/AF01/AF01ANHL.JPG": (ANGRY, "AN", "F01"),
        f"{base}/AF01/AF01NES.JPG": (NEUTRAL, "NE", "F01"),
        f"{base}/AF01/AF01SUFR.JPG": ("surprise", "SU", "F01"),
        f"{base}/AF31/AF31V.JPG": (None, "", None),
        f"{base}/AM31/AM31DIS.JPG": ("disgust", "DI", "M31"),
        f"{base}/AM31/AM31H.JPG": (None, "", None),
        f"{base}/AM31/AM31SAHR.JPG": (SAD, "SA", "M31"),
        f"{base}/AM31/AM31SUS.JPG": ("surprise", "SU", "M31"),
        f"{base}/BF01/BF01HAS.JPG": (HAPPY, "HA", "F01"),  # the same woman again
    }
    assert reasons(source, records) == {
        f"{base}/AF01/AF01SUFR.JPG": "full profile",
        f"{base}/AF31/AF31V.JPG": "misnamed",
        f"{base}/AM31/AM31H.JPG": "misnamed",
    }


def test_jaffe(made):
    source, records = made("jaffe")
    assert told(source, records, "expression", "native_label", "subject") == {
        "KA.AN1.39.tiff": (ANGRY, "AN", "KA"),
        "KA.NE1.26.tiff": (NEUTRAL, "NE", "KA"),
        "KM.FE3.13..tiff": ("fear", "FE", "KM"),
        "TM.DI3.187.tif": ("disgust", "DI", "TM"),
        "UY.HA2. 138.tiff": (HAPPY, "HA", "UY"),
        "YM.SU1.58. TIFF": ("surprise", "SU", "YM"),
        "average.tiff": (None, "", None),
    }
    assert reasons(source, records) == {"average.tiff": "misnamed"}


def test_cfd_orders_happy_mouths(made):
    source, records = made("cfd")
    base = "CFD Version 3.0/Images"
    assert told(source, records, "expression", "intensity", "subject") == {
        f"{base}/CFD/BM-009/CFD-BM-009-002-ho.JPG": (HAPPY, 1.0, "BM-009"),
        f"{base}/CFD/BM-009/CFD-BM-009.jpg": (None, None, None),
        f"{base}/CFD/WF-001/CFD-WF-001-003-N.jpg": (NEUTRAL, 0.0, "WF-001"),
        f"{base}/CFD/WF-001/CFD-WF-001-006-A.jpg": (ANGRY, None, "WF-001"),
        f"{base}/CFD/WF-001/CFD-WF-001-010-F.jpg": ("fear", None, "WF-001"),
        f"{base}/CFD/WF-001/CFD-WF-001-012-HC.jpg": (HAPPY, 0.5, "WF-001"),
        f"{base}/CFD/WF-001/CFD-WF-001-014-HO.jpg": (HAPPY, 1.0, "WF-001"),
        f"{base}/CFD-INDIA/IM-601/CFD-IM-601-100-N.jpg": (NEUTRAL, 0.0, "IM-601"),
        f"{base}/CFD-MR/MF-300/CFD-MF-300-001-N.jpg": (NEUTRAL, 0.0, "MF-300"),
    }
    assert reasons(source, records) == {f"{base}/CFD/BM-009/CFD-BM-009.jpg": "misnamed"}


# --------------------------------------------------------------------------- the common base


@pytest.mark.parametrize(
    ("value", "number"),
    [("3", 3), (b"3", 3), (3.0, 3), ("   3.0000000e+00\n", 3), ("3.7", None), ("", None),
     (None, None), ("nan", None), ("inf", None), ([3], None), ("fear", None),
     pytest.param(10**400, None, id="huge")],
)  # fmt: skip
def test_codes_are_read_however_they_are_written(value, number):
    assert code(value) == number


def test_five_points_come_from_68_of_which_the_eyes_are_means():
    assert five_points(data_sets.points()) == data_sets.EYES_APART
    assert five_points(data_sets.points().astype(str).ravel().tolist()) == data_sets.EYES_APART
    assert five_points(data_sets.EYES_APART) == data_sets.EYES_APART
    for wrong in ([], None, [1, 2, 3], ["a"] * 136, np.full(136, np.inf), np.zeros(10), {"x": 1}):
        assert five_points(wrong) is None


def test_boxes_have_a_right_and_a_lower_side():
    assert box("10", "20", "30", "40.5") == (10, 20, 40, 60.5)
    for wrong in (("0", "0", "0", "5"), ("0", "0", "5", "-5"), ("nan", "0", "5", "5"),
                  ("0", "", "5", "5"), ("0", "inf", "5", "5"), ("0", "0", "nan", "5")):  # fmt: skip
        assert box(*wrong) is None


def test_neutral_has_no_intensity_whatever_is_measured(tmp_path):
    record = Record(path=tmp_path, expression=NEUTRAL, native_label="", intensity=0.9)
    assert record.intensity == 0
    alone = list(rising([tmp_path], "fear", native_label=""))
    assert [(r.expression, r.intensity) for r in alone] == [("fear", 1.0)]
    assert list(rising([], "fear", native_label="")) == []


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1, float("inf")])
def test_intensities_that_cannot_be_are_unknown(tmp_path, wrong):
    record = Record(path=tmp_path, expression="fear", native_label="", intensity=wrong)
    assert record.intensity is None


def test_a_soft_label_that_is_no_number_is_no_intensity(made):
    source, _ = made("affectnet_plus")
    notes = source / "part1" / "train" / "annotations" / "1.json"
    notes.write_text(notes.read_text().replace("[0.125, 0.5", "[0.125, NaN"))
    _, (first, *_) = made("affectnet_plus")
    assert (first.expression, first.intensity) == (HAPPY, None)


@pytest.mark.parametrize(
    ("votes", "problem", "intensity"),
    [("-1,1,0,0,0,0,0,0,0,0", None, 1), ("-3,-3,-3,-3,-3,-3,-3,-3,-3,-3", "no majority", None),
     ("0,0,0,0,0,0,0,0,0,0", "no majority", None), ("-6,6,0,0,0,0,0,0,0,2", None, 0.75)],
)  # fmt: skip
def test_votes_below_none_count_as_none(made, votes, problem, intensity):
    source, _ = made("fer2013")
    table = source / "fer2013new.csv"
    table.write_text(table.read_text().replace("4,0,0,1,3,2,0,0,0,0", votes))
    _, (record, *_) = made("fer2013")
    assert (record.problem and record.problem[0], record.intensity) == (problem, intensity)


@pytest.mark.parametrize("bytes_", [1_000_000, 1_000_001])
def test_annotations_of_absurd_size_are_not_read(made, bytes_):
    source, _ = made("affectnet_plus")
    notes = source / "part1" / "train" / "annotations" / "1.json"
    notes.write_text(notes.read_text().ljust(bytes_))
    _, (first, *_) = made("affectnet_plus")
    told = ("annotation unreadable", "1.json: 1000001 bytes, expected at most 1000000")
    assert first.problem == (told if bytes_ > 1_000_000 else None)


@pytest.mark.parametrize("shuffled", ["list_attr_celeba", "list_eval_partition", "identity_CelebA"])
def test_celeba_joins_its_tables_in_any_order(made, shuffled):
    source, records = made("celeba")
    table = source / f"{shuffled}.txt"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-4] + [lines[i] for i in (-2, -4, -1, -3)]))
    _, again = made("celeba")
    assert sorted(again, key=lambda r: r.path) == records


def test_a_broken_table_is_told_by_name(tmp_path):
    (tmp_path / "huge.csv").write_text("a," + "9" * 200_000)
    with pytest.raises(ValueError, match=r"huge\.csv is not a table"):
        list(rows(tmp_path, tmp_path / "huge.csv", ("x", "y")))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbfX, y\n1, 2\n\n\xff,3,4\n")
    expected = [(0, {"x": "1", "y": "2"}), (2, {"x": "\ufffd", "y": "3"})]
    assert list(rows(tmp_path, tmp_path / "bom.csv", ("x", "y"))) == expected


def test_files_that_systems_leave_behind_are_no_pictures(tmp_path):
    for name in ("a/2.png", "a/10.png", "a/1.PNG", "a/._2.png", ".cache/a.png", "__MACOSX/a.png"):
        data_sets.picture(tmp_path / name)
    (tmp_path / "a" / "notes.txt").touch()
    assert [p.name for p in pictures(tmp_path)] == ["1.PNG", "10.png", "2.png"]
    assert [p.name for p in frames(tmp_path / "a")] == ["1.PNG", "2.png", "10.png"]
    assert list(pictures(tmp_path, depth=0)) == []
    assert list(pictures(tmp_path / "nowhere")) == frames(tmp_path / "nowhere") == []


def test_nested_folders_are_followed_and_a_loop_of_links_ends(tmp_path):
    (tmp_path / "Val_Set" / "val_set").mkdir(parents=True)
    assert innermost(tmp_path, "val_set") == tmp_path / "Val_Set" / "val_set"
    assert innermost(tmp_path, "train_set") == tmp_path
    (tmp_path / "loop").symlink_to(tmp_path)
    assert innermost(tmp_path, "loop").resolve() == tmp_path.resolve()


def test_pairs_are_ordered_by_number_and_complete(tmp_path):
    for name in ("i/10.png", "i/9.PNG"):
        data_sets.picture(tmp_path / name)
    for name in ("9_exp.npy", "11_exp.npy", "9_val.npy"):
        data_sets.text(tmp_path / "n" / name, "")
    pairs = paired(tmp_path / "i", tmp_path / "n", "_exp.npy")
    assert [(a.name, b.name) for a, b in pairs] == [
        ("9.PNG", "9_exp.npy"), ("10.png", "10_exp.npy"), ("11.jpg", "11_exp.npy"),
    ]  # fmt: skip


def test_names_in_tables_do_not_lead_outside(tmp_path):
    table = tmp_path / "list.csv"
    assert listed(tmp_path, tmp_path / "a", "b.png", table, 3) == {"path": tmp_path / "a" / "b.png"}
    for name in ("../list.csv", "/etc/hostname", "a/../../../x.png", "..", "x\0.png"):
        place = listed(tmp_path, tmp_path / "a", name, table, 3)
        problem = ("outside the source", name)
        assert place == {"path": table, "row": 3, "problem": problem}
    assert "problem" not in listed(tmp_path, tmp_path, "x" * 5000 + ".png", table, 0)


TABLES = [
    ("affectnet_csv", "Manually_Annotated_file_lists/validation.csv"),
    ("rafdb", "basic/EmoLabel/list_patition_label.txt"),
    ("fer2013", "fer2013.csv"),
    ("fer2013", "fer2013new.csv"),
    ("celeba", "list_attr_celeba.txt"),
    ("celeba", "list_eval_partition.txt"),
    ("celeba", "identity_CelebA.txt"),
]
ANNOTATIONS = [
    ("affectnet_npy", "train_set/annotations/0_exp.npy"),
    ("affectnet_plus", "part1/train/annotations/1.json"),
    ("ckplus", "Emotion/S037/002/S037_002_5_emotion.txt"),
]
LANDMARKS = [
    ("affectnet_npy", "train_set/annotations/0_lnd.npy"),
    ("ckplus", "Landmarks/S005/001/S005_001_12_landmarks.txt"),
]


@pytest.mark.parametrize(("layout", "name"), TABLES)
def test_tables_that_lead_outside_are_refused(made, tmp_path, layout, name):
    source, _ = made(layout)
    (source / name).rename(tmp_path / "secret")
    (source / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"leads outside the source .* put the file itself"):
        made(layout)


@pytest.mark.parametrize(("layout", "name"), [*ANNOTATIONS, *LANDMARKS])
def test_annotations_that_lead_outside_are_not_read(made, tmp_path, layout, name):
    source, before = made(layout)
    (source / name).rename(tmp_path / "secret")
    (source / name).symlink_to(tmp_path / "secret")
    _, after = made(layout)
    outside = [r for r in after if r.problem and r.problem[0] == "outside the source"]
    if (layout, name) in LANDMARKS:
        lost = [a.landmarks for a, b in zip(after, before, strict=True) if a != b]
        assert (outside, lost) == ([], [None])
    else:
        assert {r.native_label for r in outside} == {""}


def test_links_within_the_source_are_followed(made):
    source, before = made("affectnet_plus")
    notes = source / "part1" / "train" / "annotations" / "1.json"
    notes.rename(source / "1.text")
    notes.symlink_to(source / "1.text")
    assert made("affectnet_plus")[1][0] == before[0]


@pytest.mark.timeout(30)  # a pipe would be waited for
@pytest.mark.parametrize(("layout", "name"), [*TABLES, *ANNOTATIONS])
def test_pipes_are_not_opened(made, layout, name):
    source, _ = made(layout)
    (source / name).unlink()
    os.mkfifo(source / name)
    if name == "fer2013.csv":
        assert made(layout)[1] == []  # as if it were missing
    elif (layout, name) in TABLES:
        with pytest.raises(ValueError, match=r"is not a file; put the table"):
            made(layout)
    else:
        problems = [record.problem for record in made(layout)[1]]
        assert ("annotation unreadable", f"{name.split('/')[-1]}: not a file") in problems


def test_a_table_in_utf_16_is_told_as_such(made):
    source, _ = made("celeba")
    table = source / "list_eval_partition.txt"
    table.write_text(table.read_text(), encoding="utf-16")
    with pytest.raises(ValueError, match=r"partition.txt is written in UTF-16; save it as UTF-8"):
        made("celeba")


@pytest.mark.parametrize("layout", ["imagefolder", "affectnet_plus", "kdef", "oulu"])
def test_a_folder_that_cannot_be_read_stops_the_run(made, monkeypatch, layout):
    source, records = made(layout)
    closed, scandir = records[-1].path.parent, os.scandir

    def guarded(path):
        if os.path.samefile(path, closed):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(PermissionError, match=rf"{closed} cannot be read .* move it"):
        list(LAYOUTS[layout].records(source))


def test_misnamed_pictures_get_no_guess(tmp_path):
    record = by_name(tmp_path / "AF01.JPG", r"(?P<person>..)(?P<label>..)\d", {"AF": "fear"})
    assert (record.expression, record.subject) == (None, None)
    assert record.problem == ("misnamed", "AF01.JPG")
