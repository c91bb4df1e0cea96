"""Folders of photographs to prepare, broken ones among them, and what came of them."""

import csv

import skimage.data
from PIL import Image

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
PORTRAIT = ASTRONAUT.crop((100, 0, 356, 256))


def london_like(folder, people=10):
    """A folder in the layout of the London set, with one grey square a person."""
    for kind, take in (("neutral_front", "03"), ("smiling_front", "08")):
        (folder / kind).mkdir(parents=True)
        for person in range(1, people + 1):
            square = Image.new("RGB", (40, 40), (90 + person, 0, 0))
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
