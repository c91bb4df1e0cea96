"""Tiny data sets in the official layouts, with the traps that the real ones hold.

One function a layout writes a folder; the pictures are noise of a few pixels. What must come of
them is written by hand in test_layouts.py.
"""

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EYES_APART = (10.0, 12.0), (30.0, 14.0), (20.0, 24.0), (12.0, 32.0), (28.0, 33.0)
"""Five landmarks, as in a `Record`; `points()` hides them among 68."""


def picture(path: Path, size: int = 24, mode: str = "RGB", **options) -> Path:
    """Noise that only this path has, as a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.as_posix()[-40:].encode()))
    noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    kind = "TIFF" if path.suffix.lower().replace(" ", "") in (".tif", ".tiff") else None
    noise.resize((size, size)).convert(mode).save(path, kind, **options)
    return path


def truncated(path: Path) -> None:
    """A JPEG that was cut off on its way."""
    whole = picture(path, size=64).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def text(path: Path, content: str, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", **options)
    return path


def hidden(path: Path) -> None:
    """What macOS leaves beside a file on foreign disks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7 Mac OS X")


def points(five=EYES_APART) -> np.ndarray:
    """68 points of a face, (68, 2), of which the five follow; the others lie about."""
    left, right, nose, *mouth = map(np.array, five)
    around = np.array([[-3, 0], [-1, -2], [1, -2], [3, 0], [1, 2], [-1, 2]])
    face = np.stack([np.linspace(2, 38, 68), np.linspace(5, 39, 68)], 1)
    face[36:42], face[42:48] = left + around, right + around
    face[30], face[48], face[54] = nose, *mouth
    return face


# ------------------------------------------------------------------------------------ open sets


def london(root: Path) -> None:
    for folder, take in (("neutral_front", "03"), ("smiling_front", "08")):
        for person in ("001", "002", "135"):
            hidden(picture(root / folder / f"{person}_{take}.jpg"))
            text(root / folder / f"{person}_{take}.tem", "189\n670\t560\n")
    text(
        root / "london_faces_info.csv",
        "face_id,face_age,face_gender,face_eth\n001,24,female,white\n",
    )


def imagefolder(root: Path) -> None:
    train = root / "Train"
    picture(train / "Happy" / "façade 笑.JPG")
    picture(train / "happiness" / "grey.png", mode="L")
    picture(train / "HAPPINESS" / "print.jpeg", mode="CMYK")
    picture(train / "sad" / "palette.png", mode="P")
    picture(train / "sad" / "glass.png", mode="RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(train / "neutral" / "phone.jpg", exif=exif)
    picture(train / "fear" / "Low" / "a.png")
    picture(train / "fear" / "medium" / "a.png")
    picture(train / "fear" / "HIGH" / "a.png")
    picture(train / "angry" / "normal" / "a.png")
    picture(train / "angry" / "strong" / "a.png")
    picture(train / "neutral" / "strong" / "a.png")
    picture(train / "disgust" / "2" / "a.png")  # person 2, or level 2? nobody knows
    picture(train / "calm" / "a.png")
    truncated(train / "Happy" / "cut.jpg")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4096\n"
    text(train / "sad" / "pointer.jpg", pointer)
    text(train / "sad" / "empty.png", "")
    hidden(train / "sad" / "glass.png")
    text(train / "sad" / "Thumbs.db", "not a picture")
    picture(train / "sad" / ".ipynb_checkpoints" / "glass.png")
    picture(train / ".thumbnails" / "glass.png")
    hidden(train / "__MACOSX" / "glass.png")
    picture(root / "val" / "surprised" / "b.webp")
    picture(root / "papers" / "happy" / "figure.png")  # not in a split


# ------------------------------------------------------------------------------- AffectNet family

AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)


def affectnet_row(name, label, box="4,5,20,30", landmarks=None) -> str:
    landmarks = ";".join(f"{n:g}" for n in points().ravel()) if landmarks is None else landmarks
    return f"{name},{box},{landmarks},{label},0.1,-0.2"


def affectnet_csv(root: Path) -> None:
    images = root / "Manually_Annotated_Images" / "Manually_Annotated_Images"  # nested twice
    lists = root / "Manually_Annotated_file_lists"
    broken = "103/29a31ebf1567693f4644c8ba3476ca9a72ee07fe67a5860d98707a0a.jpg"
    for name in ("1/aa.JPG", "1/bb.TIF", "2/cc.png", "2/dd.bmp", "2/ee.jpeg", "3/vv.jpg"):
        picture(images / name, size=40)
    truncated(images / broken)
    text(images / "2" / "Thumbs.db", "not a picture")
    secret = picture(root.parent / "secret.jpg")
    (images / "4").mkdir()
    (images / "4" / "link.jpg").symlink_to(secret)
    (images / "5").symlink_to(secret.parent)
    (images / "6").symlink_to(images / "1")
    training = [
        AFFECTNET_HEADER,
        affectnet_row("1/aa.JPG", 1),
        affectnet_row("1/bb.TIF", 0, landmarks="1;2;3"),
        affectnet_row("2/cc.png", 7, box="4,5,0,30", landmarks=";".join(["7"] * 136)),
        affectnet_row("2/dd.bmp", 10, box="NULL,NULL,NULL,NULL", landmarks="NULL"),
        affectnet_row("2/ee.jpeg", 11),
        affectnet_row(broken, 3),
        affectnet_row("2/gone.jpg", 4),
        affectnet_row("2/Thumbs.db", 5),
        "",
        affectnet_row("../../../secret.jpg", 6),
        affectnet_row(secret.as_posix(), 6),
        affectnet_row("4/link.jpg", 6),
        affectnet_row("5/secret.jpg", 6),
        affectnet_row("6/aa.JPG", 6),
        affectnet_row("7/nul\0.jpg", 6),
        affectnet_row("", 6),
        "2/ff.png,torn",
    ]
    text(lists / "training.csv", "\n".join(training) + "\n", newline="\r\n")
    text(lists / "validation.csv", affectnet_row("3/vv.jpg", 2) + "\n")  # no header
    hidden(lists / "training.csv")
    picture(root / "Automatically_Annotated" / "Automatically_Annotated_Images" / "9" / "zz.jpg")
    automatic = root / "Automatically_Annotated" / "Automatically_annotated_file_list"
    text(automatic / "automatically_annotated.csv", affectnet_row("9/zz.jpg", 4) + "\n")


def affectnet_npy(root: Path) -> None:
    train, val = root / "train_set", root / "val_set" / "val_set"  # unzipping nests it

    def annotate(folder, number, expression, landmarks=None):
        notes = folder / "annotations"
        notes.mkdir(parents=True, exist_ok=True)
        np.save(notes / f"{number}_exp.npy", expression)
        np.save(notes / f"{number}_aro.npy", np.array("0.25"))  # and _val is missing
        if landmarks is not None:
            np.save(notes / f"{number}_lnd.npy", landmarks)

    for number in (0, 2, 10, 11, 12, 13, 14):
        picture(train / "images" / f"{number}.jpg", size=40)
    annotate(train, 0, np.array("1"), points().ravel())
    annotate(train, 2, np.array(7), points().ravel().astype(str))
    annotate(train, 10, np.array("0"), np.full(136, np.nan))
    annotate(train, 12, np.array(9))
    annotate(train, 13, np.array(3))
    torn = train / "annotations" / "13_exp.npy"
    torn.write_bytes(torn.read_bytes()[:90])
    with (train / "annotations" / "14_exp.npy").open("wb") as file:
        np.save(file, np.array([Path("1")], dtype=object), allow_pickle=True)
    annotate(train, 15, np.array("6"))  # its picture is missing
    hidden(train / "annotations" / "0_exp.npy")
    hidden(train / "images" / "0.jpg")
    text(train / "images" / "Thumbs.db", "not a picture")
    picture(val / "images" / "3.JPG", size=40)
    annotate(val, 3, np.array("2"))


def affectnet_plus(root: Path) -> None:
    def annotate(path, label, soft, **metadata):
        said = {"Human-Label": label, "Soft-Label": soft, "Subset": 1, "Metadata": metadata}
        text(path, json.dumps(said))

    soft = [0.125, 0.5, 0.25, 0, 0, 0, 0, 0.125]
    apart, together = root / "part1" / "train", root / "part2" / "validation"
    for number in (1, 2, 3, 4, 5, 20):
        picture(apart / "images" / f"{number}.jpg", size=40)
    annotate(apart / "annotations" / "1.json", 1, soft, landmarks=points().tolist())
    annotate(apart / "annotations" / "2.json", 0, soft, Landmarks=points().ravel().tolist())
    annotate(apart / "annotations" / "3.json", 2, [0.5, 0.5])
    annotate(apart / "annotations" / "4.json", 8, soft)
    text(apart / "annotations" / "5.json", '{"Human-Label": 1, "Soft')
    annotate(apart / "annotations" / "6.json", 3, soft)  # its picture is missing
    hidden(apart / "annotations" / "1.json")
    picture(together / "7.png", size=40)
    annotate(together / "7.json", 7, soft)


# ---------------------------------------------------------------------- found on the internet


def rafdb(root: Path) -> None:
    basic = root / "basic"
    names = ("train_00001", "train_00002", "train_00003", "test_0001", "test_0002")
    for name in names[:-1]:
        picture(basic / "Image" / "aligned" / f"{name}_aligned.jpg", size=100)
        picture(basic / "Image" / "original" / f"{name}.jpg", size=40)
        lines = "\n".join(f"{x}\t{y}" for x, y in EYES_APART)
        if name == "train_00002":  # begun from the other side
            lines = "\n".join(f"{x}\t{y}" for x, y in (EYES_APART[i] for i in (1, 0, 2, 4, 3)))
        text(basic / "Annotation" / "manual" / f"{name}_manu_attri.txt", f"{lines}\n1\n0\n3\n")
    text(
        basic / "EmoLabel" / "list_patition_label.txt",
        "train_00001.jpg 1\ntrain_00002.jpg 2\ntrain_00003.jpg\tx\t7\n\n"
        "test_0001.jpg 4\ntest_0002.jpg 5\n../../../secret.jpg 6\ntrain_00001\n",
    )


def pixels(start: int) -> str:
    return " ".join(str((start + i * i) % 256) for i in range(48 * 48))


FER2013 = [(0, "Training"), (1, "Training"), (2, "Training"), (3, "Training"), (4, "PublicTest"),
           (5, "PrivateTest"), (6, "PrivateTest"), (6, "PrivateTest")]  # fmt: skip
FERPLUS = """\
Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF
Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0
Training,fer0000001.png,0,5,0,5,0,0,0,0,0,0
Training,,6,0,0,0,0,0,0,0,0,4
Training,fer0000003.png,0,0,0,0,0,0,0,0,2,8
PublicTest,fer0028709.png,1,0,0,0,0,0,0,0,9,0
PrivateTest,fer0032298.png,0,0,10,0,0,0,0,0,0,0
PrivateTest,fer0032299.png,2,0,0,0,0,0,6,2,0,0
PrivateTest,fer0032300.png,1,0,0,0,0,0,0,9,0,0
"""


def fer2013(root: Path, plus: bool = True) -> None:
    lines = [f"{label},{pixels(40 * i)},{usage}" for i, (label, usage) in enumerate(FER2013)]
    lines[7] = lines[7].replace(" ", "", 1)  # a number is missing
    text(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    if plus:
        text(root / "fer2013new.csv", FERPLUS)


CELEBA_NAMES = [f"attribute_{i}" for i in range(40)]
CELEBA_NAMES[31] = "Smiling"
SIDES = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")


def celeba(root: Path, kaggle: bool = False, header: bool = True) -> None:
    smiling, places, people = (1, -1, 1, -1), (0, 0, 1, 2), (2880, 2937, 2880, 11)
    names = [f"{i:06}.jpg" for i in range(1, 5)]
    images = root / "img_align_celeba"
    for name in names:
        picture((images / "img_align_celeba" if kaggle else images) / name, size=40)
    attributes = []
    for says in smiling:
        row = [-says] * 40
        row[31] = says
        attributes.append(row)
    five = [[int(n) for pair in EYES_APART for n in pair]] * 4
    tables = {
        "list_attr_celeba": (CELEBA_NAMES, attributes),
        "list_landmarks_align_celeba": ([f"{s}_{xy}" for s in SIDES for xy in "xy"], five[:3]),
        "list_eval_partition": (["partition"], [[p] for p in places]),
    }
    for name, (columns, table) in tables.items():
        rows = [[picture, *map(str, row)] for picture, row in zip(names, table, strict=False)]
        if kaggle:
            head = [",".join(["image_id", *columns])] if header else []
            text(root / f"{name}.csv", "\n".join(head + [",".join(row) for row in rows]) + "\n")
        else:
            head = [] if name == "list_eval_partition" else [str(len(rows)), " ".join(columns)]
            text(root / f"{name}.txt", "\n".join(head + ["  ".join(row) for row in rows]) + "\n")
    if not kaggle:
        lines = "\n".join(f"{n} {p}" for n, p in zip(names, people, strict=True))
        text(root / "identity_CelebA.txt", f"{lines}\n")


# ---------------------------------------------------------------------------- made in laboratories


def ckplus(root: Path) -> None:
    for place, numbers in (
        ("S005/001", (1, 2, 10, 11, 12)),  # no zeros in front: 10 would come before 2
        ("S037/002", (3, 4, 5)),  # does not begin with frame 1
        ("S074/001", (1, 2)),  # no emotion file: normal
    ):
        for number in numbers:
            name = f"{place.replace('/', '_')}_{number}" + (".PNG" if number == 4 else ".png")
            picture(root / "cohn-kanade-images" / place / name, mode="L")
        text(root / "cohn-kanade-images" / place / ".DS_Store", "")
        (root / "Emotion" / place).mkdir(parents=True)
    text(root / "Emotion/S005/001/S005_001_12_emotion.txt", "   3.0000000e+00\n")
    hidden(root / "Emotion/S005/001/S005_001_12_emotion.txt")
    text(root / "Emotion/S037/002/S037_002_5_emotion.txt", "   5.0000000e+00\n")
    text(root / "Emotion/S999/001/S999_001_00000009_emotion.txt", "   7.0000000e+00\n")  # no frames
    landmarks = "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in points())
    text(root / "Landmarks/S005/001/S005_001_12_landmarks.txt", landmarks)
    text(root / "Landmarks/S005/001/S005_001_2_landmarks.txt", landmarks[:500])


def oulu(root: Path) -> None:
    strong = root / "OriginalImg" / "VL" / "Strong"
    for number in (0, 1, 2, 9, 10):
        picture(strong / "P001" / "Happiness" / f"{number}.jpeg")
    for number in range(2):
        picture(strong / "P080" / "Sadness" / f"{number:03}.jpeg")
        picture(root / "OriginalImg" / "NI" / "Strong" / "P001" / "Anger" / f"{number:03}.jpeg")
        picture(root / "OriginalImg" / "VL" / "Dark" / "P001" / "Anger" / f"{number:03}.jpeg")
        picture(root / "C_PreProcess" / "VL" / "Strong" / "P001" / "Anger" / f"{number:03}.jpeg")
    text(strong / "P001" / "Happiness" / "Thumbs.db", "not a picture")


def mug(root: Path) -> None:
    for number in range(7):
        picture(root / "subjects3" / "001" / "001" / "anger" / "take000" / f"img_{number:04}.jpg")
    for number in range(2):
        picture(root / "subjects3" / "001" / "001" / "neutral" / "take001" / f"img_{number:04}.jpg")
    for number in range(4):
        picture(root / "subjects3" / "052" / "surprise" / "take002" / f"img_{number:04}.jpg")


def kdef(root: Path) -> None:
    base = root / "KDEF_and_AKDEF" / "KDEF"
    for name in ("AF01AFS", "AF01ANHL", "AF01NES", "AF01SUFR", "BF01HAS", "AM31SAHR", "AM31DIS"):
        picture(base / name[:4] / f"{name}.JPG")
    picture(base / "AF31" / "AF31V.JPG")  # misnamed like this in the official set
    picture(base / "AM31" / "AM31H.JPG")
    Image.new("RGB", (24, 24)).save(base / "AM31" / "AM31SUS.JPG")  # four files are all black
    text(base / "AF01" / "Thumbs.db", "not a picture")
    picture(root / "KDEF_and_AKDEF" / "AKDEF" / "AFANS.JPG")  # an average of all people


def jaffe(root: Path) -> None:
    for name in ("KA.AN1.39.tiff", "KA.NE1.26.tiff", "KM.FE3.13..tiff", "UY.HA2. 138.tiff",
                 "YM.SU1.58. TIFF", "TM.DI3.187.tif", "average.tiff"):  # fmt: skip
        picture(root / name, mode="L")
    text(root / "README_FIRST.txt", "# HAP SAD SUR ANG DIS FEA PIC\n")


def cfd(root: Path) -> None:
    images = root / "CFD Version 3.0" / "Images"
    for shot in ("003-N", "006-A", "010-F", "012-HC", "014-HO"):
        picture(images / "CFD" / "WF-001" / f"CFD-WF-001-{shot}.jpg")
    picture(images / "CFD" / "BM-009" / "CFD-BM-009-002-ho.JPG")
    picture(images / "CFD-MR" / "MF-300" / "CFD-MF-300-001-N.jpg")
    picture(images / "CFD-INDIA" / "IM-601" / "CFD-IM-601-100-N.jpg")
    picture(images / "CFD" / "BM-009" / "CFD-BM-009.jpg")
    hidden(images / "CFD" / "WF-001" / "CFD-WF-001-003-N.jpg")
    picture(root / "CFD Version 3.0" / "cover.jpg")
