"""How data sets lie on disk: one function a layout, from its folder to a stream of records."""

from collections.abc import Iterator
from pathlib import Path

from data_prep.records import SPLITS, Record, expression_named, folders, layout, pictures
from mmagan_lite.expressions import EXPRESSIONS


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


@layout(
    "SOURCE/<expression>/*.jpg or SOURCE/<train, val or test>/<expression>/*.jpg, the folders "
    f"named after expressions ({', '.join(EXPRESSIONS)}, or words such as happy and sad)"
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
                label, expression = folder.name, expression_named(folder.name)
                yield Record(path=path, expression=expression, native_label=label, split=split)
