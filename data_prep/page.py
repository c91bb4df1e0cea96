"""report.html: the report as a page for people, one file without scripts or anything to load."""

import base64
import io
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from mmagan_lite.expressions import EXPRESSIONS

REASONS = {
    "no face": "The detector saw no face, or only one smaller than a sixteenth of the picture.",
    "several faces": "Several faces of similar size, and the data set does not say which is meant.",
    "unknown label": "The label is none of the eight expressions.",
    "unreadable": "The file is damaged, cut off or no picture.",
    "empty file": "The file has no content: the copy or the download failed.",
    "Git LFS pointer": "A note that stands for the file; git lfs pull fetches the picture itself.",
    "missing file": "The data set lists it, but it is not there.",
    "outside the source": "The path, or a link, leads out of the data set's folder.",
    "too large": "More pixels than Pillow unpacks for fear of a trap.",
    "all black": "Every pixel is black; KDEF, for instance, has four such files.",
    "too small": "Less than 16 pixels wide or high.",
    "impossible box": "The box or the landmarks of the data set do not lie in the picture.",
    "failed": "Something unexpected went wrong; the detail is in skipped.csv.",
}
PAIRS_SHOWN = 12

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Prepared faces: $layout</title>
<style>
:root { color-scheme: light dark; --page: #fafaf8; --card: #fff; --line: #dddcd6; --text: #1f2328;
  --quiet: #5c6370; --train: #3b6ea5; --test: #c2681c; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1f2228; --line: #3a3f48;
  --text: #e6e6e3; --quiet: #a3a9b4; --train: #6ea3dc; --test: #e8954d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.2rem 4rem; background: var(--page);
  color: var(--text); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; } .quiet { color: var(--quiet); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem;
  margin: 1.4rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; background: var(--card); }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--quiet); font-weight: 600; } tbody th { color: inherit; font-weight: 400; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bars { width: 45%; }
.bar { display: block; height: .55rem; border-radius: .2rem; margin: .2rem 0; }
.train { background: var(--train); } .test { background: var(--test); }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; }
.faces { display: grid; grid-template-columns: repeat(10, 1fr); gap: 3px; }
.faces img, .pairs img { width: 100%; aspect-ratio: 1; object-fit: cover; display: block; }
h3 { font-size: .95rem; font-weight: 600; margin: .9rem 0 .3rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .8rem; }
figure { margin: 0; padding: .6rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
figure div { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; }
figcaption { font-size: .8rem; color: var(--quiet); overflow-wrap: anywhere; margin-top: .4rem; }
@media (max-width: 40rem) { .faces { grid-template-columns: repeat(5, 1fr); } }
</style>
</head>
<body>
<h1>Prepared faces: $layout</h1>
<p class="quiet">from $source</p>
<div class="cards">$cards</div>
<h2>Expressions</h2>
$histogram
<h2>What was skipped</h2>
$skipped
<h2>Training and testing</h2>
$split
<h2>Near-duplicates</h2>
$duplicates
<h2>Quality</h2>
$quality
<h2>Intensities</h2>
$intensity
<h2>Faces to look at</h2>
<p>Chosen at random. Do the labels fit? Are the eyes level and all faces framed alike?
<a href="contact_sheet.png">contact_sheet.png</a> is the same as one picture.</p>
$faces
<h2>Settings</h2>
$settings
</body>
</html>
""")


def page(report: dict, contact_sheet: dict[str, list[str]], dest: Path) -> str:
    """The page.

    Parameters
    ----------
    report : dict
        What report.json holds.
    contact_sheet : dict of list of str
        Some crops of each expression, as paths in `dest`; they are embedded.
    dest : Path

    Returns
    -------
    str
        HTML.
    """
    return PAGE.substitute(
        layout=escape(report["options"]["layout"]),
        source=_text(report["options"]["source"]),
        cards=_cards(report),
        histogram=_histogram(report["pictures"]),
        skipped=_skipped(report),
        split=_split(report),
        duplicates=_duplicates(report, dest),
        quality=_quality(report),
        intensity=_intensity(report),
        faces=_faces(contact_sheet, dest),
        settings=_table(("", ""), [(k, _plain(v)) for k, v in report["options"].items()]),
    )


# ----------------------------------------------------------------------------------- sections


def _cards(report: dict) -> str:
    cards = [("found", report["found"]), ("used", report["used"])]
    cards.append(("skipped", report["found"] - report["used"]))
    people = sum(report["people"].values()) - report["people_in_both_splits"]
    cards.append(("people", f"{people:,}" if people else "unknown"))
    if report["near_duplicates"] is not None:
        cards.append(("test pictures with a near-duplicate in training",
                      report["near_duplicates"]["test_pictures"]))  # fmt: skip
    return "".join(f'<div class="card"><b>{_number(n)}</b>{name}</div>' for name, n in cards)


def _histogram(pictures: dict) -> str:
    largest = max((n for counts in pictures.values() for n in counts.values()), default=1)
    rows = []
    for name in EXPRESSIONS:
        counts = {split: pictures.get(split, {}).get(name, 0) for split in ("train", "test")}
        bars = "".join(
            f'<span class="bar {split}" style="width: {100 * n / largest:.1f}%"></span>'
            for split, n in counts.items()
        )
        numbers = "".join(f'<td class="n">{n:,}</td>' for n in counts.values())
        rows.append(f'<tr><th>{name}</th>{numbers}<td class="bars">{bars}</td></tr>')
    heads = "".join(
        f'<th class="n"><span class="key {s}"></span> {s}</th>' for s in ("train", "test")
    )
    return (
        f'<div class="wide"><table><thead><tr><th>expression</th>{heads}<th></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _skipped(report: dict) -> str:
    if not report["skipped"]:
        return "<p>Nothing.</p>"
    example = {}
    for entry in report["skipped_files"]:
        example.setdefault(entry["skipped"], entry["source"])
    rows = [
        (reason, f"{n:,}", REASONS.get(reason, "The data set itself shows it."),
         example.get(reason, ""))
        for reason, n in report["skipped"].items()
    ]  # fmt: skip
    return _table(("reason", "pictures", "what it means", "for example"), rows, numbers={1}) + (
        '<p class="quiet">skipped.csv names every file.</p>'
    )


def _split(report: dict) -> str:
    split, both = report["split"], report["people_in_both_splits"]
    counted = " and ".join(
        f"{n:,} for {'training' if name == 'train' else 'testing'}"
        for name, n in split.items()
        if name != "how"
    )
    text = f"<p>{counted or 'No pictures'}; shared out {split['how'] or 'in no way'}.</p>"
    if both:
        return text + f"<p><strong>{both:,} people are in both</strong>: {SAME_PEOPLE}</p>"
    if report["people"]:
        return text + "<p>Nobody whom the data set names is in both.</p>"
    return (
        text + f"<p>The data set does not say who is seen. People may be in both: {SAME_PEOPLE}</p>"
    )


SAME_PEOPLE = "figures on the test pictures will then look better than they are for new people."


def _duplicates(report: dict, dest: Path) -> str:
    found = report["near_duplicates"]
    if found is None:
        return "<p>Not sought, as imagehash is not installed: pip install imagehash.</p>"
    rule = (
        f"Two pictures count as copies if at most {found['threshold']} of the {found['bits']} bits "
        "of their perceptual hashes differ: the same photograph, saved again, scaled or somewhat "
        "brighter, but as a rule not the same person with another expression. Copies that were "
        "cropped anew are not found."
    )
    if not found["pairs"]:
        return f"<p>None between training and testing.</p><p class='quiet'>{rule}</p>"
    shown = "".join(_pair(pair, dest) for pair in found["files"][:PAIRS_SHOWN])
    return (
        f"<p><strong>{found['pairs']:,} pairs</strong>, one picture in training and one in "
        f"testing; they concern {found['test_pictures']:,} test pictures. A network that has "
        f"learnt them by heart looks good on these. report.json lists the first "
        f"{len(found['files'])}.</p><p class='quiet'>{rule}</p><div class='pairs'>{shown}</div>"
    )


def _pair(pair: dict, dest: Path) -> str:
    pictures = _image(dest, pair["train"]) + _image(dest, pair["test"])
    names = f"{_text(pair['train'])}<br>{_text(pair['test'])}<br>{pair['bits']} bits differ"
    return f"<figure><div>{pictures}</div><figcaption>{names}</figcaption></figure>"


def _quality(report: dict) -> str:
    return (
        f"<p>{_share(report, 'grey')} have no colours. {_share(report, 'upscaled')} are smaller in "
        f"the data set than the crops of {report['options']['size']} pixels, and so enlarged and "
        "soft.</p>"
    )


def _share(report: dict, key: str) -> str:
    return f"{report[key]:,} ({report[key] / max(1, report['used']):.0%})"


def _intensity(report: dict) -> str:
    known, source = report["intensity"]["known"], report["intensity"]["source"]
    if not known:
        return "<p>Unknown, except that neutral faces have 0: the column is empty.</p>"
    return f"<p>Known for {known:,} pictures that are not neutral: {_text(source)}.</p>"


def _faces(contact_sheet: dict[str, list[str]], dest: Path) -> str:
    return "".join(
        f'<h3>{name}</h3><div class="faces">{"".join(_image(dest, file) for file in files)}</div>'
        for name, files in contact_sheet.items()
    )


# -------------------------------------------------------------------------------------- parts


def _text(value: object) -> str:
    return escape(str(value))


def _number(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _plain(value: object) -> object:
    if value is None:
        return "none"
    return ("no", "yes")[value] if isinstance(value, bool) else value


def _table(heads: tuple, rows: list[tuple], numbers: set[int] = frozenset()) -> str:
    def line(cells: tuple, tag: str) -> str:
        kinds = (' class="n"' if i in numbers else "" for i in range(len(cells)))
        return "".join(f"<{tag}{kind}>{_text(cell)}</{tag}>"
                       for kind, cell in zip(kinds, cells, strict=True))  # fmt: skip

    head = f"<thead><tr>{line(heads, 'th')}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _image(dest: Path, file: str, side: int = 128) -> str:
    """A crop, embedded, with its file's name for those who cannot see it or point at it."""
    with Image.open(dest / file) as crop:
        crop.thumbnail((side, side))
        jpeg = io.BytesIO()
        crop.save(jpeg, "JPEG", quality=85)
    data = base64.b64encode(jpeg.getvalue()).decode()
    name = _text(file)
    return f'<img src="data:image/jpeg;base64,{data}" alt="{name}" title="{name}">'
