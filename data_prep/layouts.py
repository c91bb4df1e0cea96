"""How data sets lie on disk: one function a layout, from its folder to a stream of records.

docs/data_sets.md describes each data set to readers. Labels go by their names or by the table of
codes that the data set documents, never by the place of a folder in the alphabet.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np

from data_prep.records import (
    SPLITS,
    Record,
    annotation,
    box,
    by_name,
    code,
    expression_named,
    five_points,
    floats,
    folders,
    frames,
    in_any_order,
    in_step,
    innermost,
    is_picture,
    layout,
    listed,
    paired,
    pictures,
    rising,
    rising_names,
    rows,
    walk,
    words,
)
from mmagan_lite.expressions import EXPRESSIONS

# ------------------------------------------------------- open to everybody: photographs of yours


@layout("SOURCE/neutral_front/NNN_03.jpg and SOURCE/smiling_front/NNN_08.jpg")
def london(source: Path) -> Iterator[Record]:
    """Face Research Lab London Set (DeBruine & Jones 2017): NNN is the person."""
    for folder, take, expression in (
        ("neutral_front", "03", "neutral"),
        ("smiling_front", "08", "happiness"),
    ):
        for path in pictures(source / folder, f"[0-9]*_{take}.*"):
            subject = path.stem.split("_")[0]
            yield Record(path=path, expression=expression, native_label=folder, subject=subject)


LEVELS = {"low": 1 / 3, "medium": 2 / 3, "high": 1.0, "normal": 1 / 2, "strong": 1.0}


@layout(
    "SOURCE/<expression>/*.jpg or SOURCE/<train, val or test>/<expression>/*.jpg, the folders "
    f"named after expressions ({', '.join(EXPRESSIONS)}, or words such as happy and sad)",
    intensity="folders in those of the expressions, called low, medium and high (1/3, 2/3, 1) or "
    "normal and strong (1/2, 1): an order, not a measure",
)
def imagefolder(source: Path) -> Iterator[Record]:
    """One folder for each expression, as torchvision's and Hugging Face's readers expect."""
    by_split = [(SPLITS[f.name.lower()], f) for f in folders(source) if f.name.lower() in SPLITS]
    for split, parent in by_split or [(None, source)]:
        labelled = folders(parent)
        if not any(expression_named(folder.name) for folder in labelled):
            continue  # some other folder: do not search all that lies below it
        for folder in labelled:
            for path in pictures(folder):
                yield Record(
                    path=path,
                    expression=expression_named(folder.name),
                    native_label=folder.name,
                    split=split,
                    # Numbers are no levels: folders in a folder may as well be people.
                    intensity=LEVELS.get(path.parent.name.lower()),
                )


# ------------------------------------------------------------------------------ AffectNet family

AFFECTNET = dict(enumerate(EXPRESSIONS[:8]))  # our order; 8 is none, 9 uncertain, 10 no face
AFFECTNET_COLUMNS = (
    "subdirectory_filepath", "face_x", "face_y", "face_width", "face_height",
    "facial_landmarks", "expression", "valence", "arousal",
)  # fmt: skip
AFFECTNET_BROKEN = "103/29a31ebf1567693f4644c8ba3476ca9a72ee07fe67a5860d98707a0a.jpg"


@layout(
    "SOURCE/Manually_Annotated_file_lists/training.csv and validation.csv beside "
    "SOURCE/Manually_Annotated_Images/<number>/*.jpg (Automatically_... likewise)"
)
def affectnet_csv(source: Path) -> Iterator[Record]:
    """AffectNet, full release (Mollahosseini et al. 2017); its validation set is our test set."""
    for kind in ("manually", "automatically"):
        images = innermost(source, rf"{kind}_annotated(_images)?")
        for table in _affectnet_tables(source, kind):
            split = "test" if "validation" in table.name.lower() else "train"
            yield from _affectnet_rows(source, images, table, split)


def _affectnet_tables(source: Path, kind: str) -> list[Path]:
    for base in (source, innermost(source, f"{kind}_annotated")):
        folder = innermost(base, f"{kind}_annotated_file_lists?")  # it is spelt both ways
        if folder != base:
            _, names = next(walk(folder, depth=0))
            return [folder / name for name in names if name.lower().endswith(".csv")]
    return []


def _affectnet_rows(source: Path, images: Path, table: Path, split: str) -> Iterator[Record]:
    for i, row in rows(source, table, AFFECTNET_COLUMNS):
        *place, points, label = (row.get(column, "") for column in AFFECTNET_COLUMNS[:7])
        where = listed(source, images, place[0], table, i)
        if place[0].endswith(AFFECTNET_BROKEN):
            where["problem"] = ("known to be broken", place[0])
        yield Record(
            **where,
            expression=AFFECTNET.get(code(label)),
            native_label=label,
            split=split,
            bbox=box(*place[1:]),
            landmarks=five_points(floats(points, ";")),
        )


# Both releases of crops are taken whole: they are cut so closely that an aligned frame, which
# shows hair and chin, would repeat their edges. With --align their landmarks level the eyes.


@layout(
    "SOURCE/train_set/images/<id>.jpg and SOURCE/train_set/annotations/<id>_exp.npy, "
    "val_set likewise",
    crops=True,
)
def affectnet_npy(source: Path) -> Iterator[Record]:
    """AffectNet in eight classes, crops of 224 x 224 with a few small NumPy files each."""
    for name, split in (("train_set", "train"), ("val_set", "test")):
        root = innermost(source, name)
        if root == source:
            continue
        for path, exp in paired(root / "images", root / "annotations", "_exp.npy"):
            label, problem = annotation(source, exp, _npy)
            lnd = exp.with_name(exp.name.replace("_exp.npy", "_lnd.npy"))
            yield Record(
                path=path,
                expression=AFFECTNET.get(code(label)),
                native_label="" if problem else str(label),
                split=split,
                landmarks=five_points(annotation(source, lnd, _npy)[0]),
                problem=problem,
            )


def _npy(path: Path) -> object:
    """A number, a text (copies differ) or a list of numbers."""
    return np.load(path, allow_pickle=False).tolist()


@layout(
    "pictures in folders images/ with a JSON file each in annotations/ beside, or both together, "
    "at most three levels below SOURCE",
    crops=True,
    intensity="the share of its own class in the soft label: how sure a model is, at best an order",
)
def affectnet_plus(source: Path) -> Iterator[Record]:
    """AffectNet+ (Fard et al. 2024): crops of 224 x 224 with soft labels, one JSON file each."""
    for folder, _ in walk(source, depth=3):
        parts = folder.relative_to(source).parts
        split = next((SPLITS[name.lower()] for name in parts if name.lower() in SPLITS), None)
        beside = folder.with_name("annotations")
        if folder.name == "annotations":
            continue  # read from images/
        apart = folder.name == "images" and folder != source and beside.is_dir()
        for path, notes in paired(folder, beside if apart else folder, ".json"):
            said, problem = annotation(source, notes, _soft_label)
            said = said or {"expression": None, "native_label": ""}
            yield Record(path=path, split=split, problem=problem, **said)


def _soft_label(path: Path) -> dict:
    said = {key.lower(): value for key, value in json.loads(path.read_bytes()).items()}
    label, shares = said["human-label"], said.get("soft-label", ())
    expression = AFFECTNET.get(code(label))
    known = expression and len(shares) == len(AFFECTNET)
    more = {key.lower(): value for key, value in (said.get("metadata") or {}).items()}
    return {
        "expression": expression,
        "native_label": str(label),
        "intensity": min(max(float(shares[code(label)]), 0.0), 1.0) if known else None,
        "landmarks": five_points(more.get("landmarks")),
    }


# ------------------------------------------------------------------------- found on the internet

RAFDB = {
    1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral",
}  # fmt: skip


@layout(
    "SOURCE/EmoLabel/list_patition_label.txt (sic) and SOURCE/Image/aligned/*_aligned.jpg or "
    "SOURCE/Image/original/*.jpg",
    crops=True,
)
def rafdb(source: Path) -> Iterator[Record]:
    """RAF-DB, basic expressions (Li et al. 2017): aligned crops, else originals (for --align)."""
    root = innermost(source, "basic")
    table, aligned = root / "EmoLabel" / "list_patition_label.txt", root / "Image" / "aligned"
    folder, ending = (
        (aligned, "_aligned") if aligned.is_dir() else (aligned.parent / "original", "")
    )
    for i, (name, *_, label) in ((i, line) for i, line in words(source, table) if len(line) > 1):
        stem = Path(name).stem
        notes = root / "Annotation" / "manual" / f"{stem}_manu_attri.txt"
        yield Record(
            **listed(source, folder, f"{name.removesuffix('.jpg')}{ending}.jpg", table, i),
            expression=RAFDB.get(code(label)),
            native_label=label,
            split=SPLITS.get(stem.split("_")[0].lower()),
            landmarks=None if ending else annotation(source, notes, _five_by_side)[0],
        )


def _five_by_side(path: Path) -> tuple | None:
    """Five landmarks, whichever side the eyes and the corners of the mouth are begun from."""
    points = five_points(floats(" ".join(path.read_text().split()[:10])))
    return points and (*sorted(points[:2]), points[2], *sorted(points[3:]))


FER2013 = {
    0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "sadness", 5: "surprise", 6: "neutral",
}  # fmt: skip
FER2013_TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv", "test.csv")
FER2013_SPLITS = {"training": "train", "publictest": "test", "privatetest": "test"}
FERPLUS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "nf",
)  # fmt: skip


@layout(
    "SOURCE/fer2013.csv (or icml_face_data.csv, or train.csv and test.csv), with FERPlus also "
    "SOURCE/fer2013new.csv",
    crops=True,
    intensity="with FERPlus, the share of votes for the label: agreement, at best an order",
)
def fer2013(source: Path) -> Iterator[Record]:
    """FER2013 (Goodfellow et al. 2013) and its better labels, FERPlus (Barsoum et al. 2016)."""
    root = innermost(source, "fer2013")
    there = [name for name in FER2013_TABLES if (root / name).is_file()]
    for name in there[:1] if there[:1] != ["train.csv"] else there:  # the first that is whole
        votes = _votes(source, root / "fer2013new.csv")
        for i, row in rows(source, root / name, ("emotion", "pixels", "usage")):
            usage, voted = next(votes, ("no more rows", {}))
            if usage not in (None, row.get("usage")):
                raise ValueError(
                    f"Row {i} of {root / name} is for {row.get('usage')}, that of fer2013new.csv "
                    f"for {usage}; they must be in the same order. Use the official fer2013.csv."
                )
            yield _fer2013_record(root / name, i, row, voted)


def _fer2013_record(table: Path, i: int, row: dict[str, str], voted: dict) -> Record:
    label, pixels = row.get("emotion", ""), _grey_levels(row.get("pixels", ""))
    said = {"expression": FER2013.get(code(label)), "native_label": label} | voted
    if pixels is None:
        said["problem"] = ("not 48 x 48 pixels", f"row {i}")
    split = FER2013_SPLITS.get(row.get("usage", "").lower())
    return Record(path=table, row=i, pixels=pixels, split=split, **said)


def _grey_levels(text: str) -> bytes | None:
    try:
        pixels = bytes(map(int, text.split()))
    except ValueError:
        return None
    return pixels if len(pixels) == 48 * 48 else None


def _votes(source: Path, table: Path) -> Iterator[tuple[str | None, dict]]:
    """Usage and label of each row of FERPlus, which has no pictures; None where it is missing."""
    if not table.exists():
        yield from repeat((None, {}))
    for _, row in rows(source, table, ("usage", "image name", *FERPLUS)):
        yield row.get("usage", ""), _vote(row)


def _vote(row: dict[str, str]) -> dict:
    """What the raters made of a picture: its label and their agreement, or why it has none."""
    votes = {name: max(0, code(row.get(name)) or 0) for name in FERPLUS}
    most = max(votes.values())
    labels = [name for name, n in votes.items() if n == most]
    said = {"expression": expression_named(labels[0]), "native_label": "/".join(labels)}
    if not row.get("image name"):
        return said | {"problem": ("not a face", "FERPlus gives it no name")}
    if most == 0:
        return {"expression": None, "native_label": "", "problem": ("no majority", "no votes")}
    if len(labels) > 1:
        return said | {"problem": ("no majority", said["native_label"])}
    if labels == ["nf"]:
        return said | {"problem": ("not a face", f"by {most} votes")}
    return said | {"intensity": most / sum(votes.values())}


@layout("SOURCE/img_align_celeba/NNNNNN.jpg and SOURCE/list_attr_celeba.txt (or .csv)")
def celeba(source: Path) -> Iterator[Record]:
    """CelebA (Liu et al. 2015): smiling is taken for happiness, not smiling for neutral."""
    root = innermost(source, "celeba")
    images = innermost(root, "img_align_celeba")
    attributes, *others = (
        _txt_or_csv(root, name)
        for name in ("list_attr_celeba", "list_eval_partition", "list_landmarks_align_celeba",
                     "identity_CelebA")
    )  # fmt: skip
    in_order = all(rising_names(source, table) for table in (attributes, *others))
    look_up = in_step if in_order else in_any_order  # the official tables are in order
    partition, landmarks, identity = (look_up(source, table) for table in others)
    smiling = -9  # the last but eight of 40, where no line names them
    for i, line in words(source, attributes):
        if "Smiling" in line:
            smiling = line.index("Smiling") - len(line)
        if not is_picture(line[0]):
            continue  # the count, or the names
        name, says = line[0], line[smiling] if len(line) > -smiling else ""
        yield Record(
            **listed(source, images, name, attributes, i),
            expression={"1": "happiness", "-1": "neutral", "0": "neutral"}.get(says),
            native_label=f"Smiling {says}",
            split={"0": "train", "1": "test", "2": "test"}.get("".join(partition(name))),
            subject="".join(identity(name)) or None,
            landmarks=five_points(floats(" ".join(landmarks(name)))),
        )


def _txt_or_csv(folder: Path, name: str) -> Path:
    text, table = folder / f"{name}.txt", folder / f"{name}.csv"
    return text if text.exists() else table


# --------------------------------------------------------------------------- made in laboratories

CKPLUS = {
    1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happiness", 6: "sadness", 7: "surprise",
}  # fmt: skip
PLACE = "the frame's place between neutral and the height: an order within each sequence only"


@layout(
    "SOURCE/cohn-kanade-images/S005/001/*.png and SOURCE/Emotion/S005/001/*_emotion.txt",
    intensity=PLACE,
)
def ckplus(source: Path) -> Iterator[Record]:
    """CK+ (Lucey et al. 2010): the sequences that have an emotion; 266 of 593 have none."""
    for folder, names in walk(source / "Emotion", depth=2):
        for name in (name for name in names if name.endswith("_emotion.txt")):
            place = folder.relative_to(source / "Emotion")
            peak = name.removesuffix("_emotion.txt") + ".png"
            sequence = source / "cohn-kanade-images" / place
            label, problem = annotation(source, folder / name, Path.read_text)
            label = (label or "").strip()
            same = {"native_label": label, "subject": name.split("_")[0], "problem": problem}
            expression = CKPLUS.get(code(label))
            for record in rising(frames(sequence) or [sequence / peak], expression, **same):
                notes = source / "Landmarks" / place / f"{record.path.stem}_landmarks.txt"
                yield replace(record, landmarks=annotation(source, notes, _numbers)[0])


def _numbers(path: Path) -> tuple | None:
    return five_points(floats(path.read_text()))


@layout("SOURCE/OriginalImg/VL/Strong/P001/Anger/000.jpeg", intensity=PLACE)
def oulu(source: Path) -> Iterator[Record]:
    """Oulu-CASIA (Zhao et al. 2011): visible, strong light: the part like photographs."""
    root = innermost(source, "(b_)?originalimg") / "VL" / "Strong"
    for person in folders(root):
        for folder in folders(person):
            label, expression = folder.name, expression_named(folder.name)
            same = {"native_label": label, "subject": person.name}
            yield from rising(frames(folder), expression, **same)


@layout(
    "SOURCE/subjects3/<person>/happiness/take000/img_0000.jpg",
    intensity=f"{PLACE}, of which the rising half is used",
)
def mug(source: Path) -> Iterator[Record]:
    """MUG (Aifanti et al. 2010): from neutral to the height in the middle, and back again."""
    for person in folders(innermost(source, "subjects3")):
        for labelled in folders(innermost(person, re.escape(person.name))):
            label, expression = labelled.name, expression_named(labelled.name)
            same = {"native_label": label, "subject": person.name}
            for take in folders(labelled):
                paths = frames(take)
                if expression != "neutral":
                    paths = paths[: len(paths) // 2 + 1]
                yield from rising(paths, expression, **same)


KDEF = {
    "AF": "fear", "AN": "anger", "DI": "disgust", "HA": "happiness", "NE": "neutral",
    "SA": "sadness", "SU": "surprise",
}  # fmt: skip


@layout("SOURCE/AF01/AF01ANS.JPG, at most three levels below SOURCE")
def kdef(source: Path) -> Iterator[Record]:
    """KDEF (Lundqvist et al. 1998): session A or B, person, expression, angle."""
    pattern = rf"[AB](?P<person>[FM]\d\d)(?P<label>{'|'.join(KDEF)})(S|[HF][LR])\.\w+"
    for path in pictures(source, depth=3):
        if re.fullmatch(r"[AB][FM]\d\d", path.parent.name, re.IGNORECASE):  # no averages
            # In full profile one eye is seen, and two are needed to level and to edit a face.
            profile = re.search(r"F[LR]$", path.stem, re.IGNORECASE)
            problem = ("full profile", path.name) if profile else None
            yield by_name(path, pattern, KDEF, problem=problem)


@layout("SOURCE/KA.AN1.39.tiff")
def jaffe(source: Path) -> Iterator[Record]:
    """JAFFE (Lyons et al. 1998): person, expression and take, running number."""
    codes = {("FE" if label == "AF" else label): name for label, name in KDEF.items()}
    gap = r"[.\s]+"  # copies have blanks or two dots here
    pattern = rf"(?P<person>[A-Z]{{2}}){gap}(?P<label>{'|'.join(codes)})\d{gap}\d+{gap}\w+"
    for path in pictures(innermost(source, "jaffe.*"), depth=0):
        yield by_name(path, pattern, codes)


CFD = {"N": "neutral", "A": "anger", "F": "fear", "HC": "happiness", "HO": "happiness"}


@layout(
    "SOURCE/Images/CFD/WM-001/CFD-WM-001-014-HO.jpg, the folder WM-001 at most four levels below "
    "SOURCE",
    intensity="happy with closed mouth 0.5, with open mouth 1: an order, not a measure",
)
def cfd(source: Path) -> Iterator[Record]:
    """Chicago Face Database (Ma et al. 2015) with its parts MR and India."""
    pattern = r"CFD-(?P<person>[A-Z][FM]-\d+)-\d+-(?P<label>N|A|F|HC|HO)\.\w+"
    for path in pictures(source, depth=4):
        if re.fullmatch(r"[A-Z][FM]-\d+", path.parent.name, re.IGNORECASE):
            shot = path.stem.upper().rsplit("-", 1)[-1]
            yield by_name(path, pattern, CFD, intensity={"HC": 0.5, "HO": 1.0}.get(shot))
