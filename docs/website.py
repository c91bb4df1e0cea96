"""Build the course as a website that needs no Python and no network: ``make site``.

Notebooks and documents are shown as they are stored, nothing is run. Where a notebook shows a
panel, the site has that panel as it exports itself, which works in every browser.
"""

import argparse
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import skimage.data
from docutils.nodes import Element, SkipNode
from latex2mathml.converter import convert
from PIL import Image
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from mmagan_lite import widgets
from mmagan_lite.data import progress
from mmagan_lite.widgets.panel import Panel

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]

# A page cannot see how high a panel in it is, so the panel tells.
TELL = """<script>
new ResizeObserver(() => parent.postMessage({height: document.body.offsetHeight + 16}, "*"))
  .observe(document.body);
</script>
"""
LISTEN = """addEventListener("message", ({source, data}) => {
  for (const frame of document.querySelectorAll("iframe"))
    if (frame.contentWindow === source && data.height) frame.style.height = data.height + "px";
});
"""

CONTENTS = {
    "The course": [f"notebooks/{path.stem}" for path in NOTEBOOKS],
    "About it": ["docs/paper", "docs/results", "docs/training", "docs/architecture"],
    "Teaching": ["docs/instructors", "docs/exercises"],
    "Data and weights": ["docs/data_sets", "docs/data_card", "docs/model_card", "docs/licences"],
    "Taking part": ["CONTRIBUTING", "CHANGELOG"],
}

PERSON = 1_000_011  # of notebooks 01 and 09
PANELS: Mapping[str, Callable[[], Panel]] = {
    "00-04": lambda: widgets.explore(identity=1_000_007),
    "cell-10": lambda: widgets.action_units(identity=PERSON),
    "09-04": lambda: widgets.explore(identity=PERSON),
    "09-11": lambda: widgets.strip(identity=PERSON),
    "09-15": lambda: widgets.attention(identity=PERSON),
    "09-19": lambda: widgets.compare(identity=PERSON),
    "09-22": lambda: widgets.action_units(PERSON, {"12R": 1.0, "2L": 1.0}),
    "09-27": lambda: widgets.explore(photo=Image.fromarray(skimage.data.astronaut())),
}
"""What the cells of notebooks show, by the cell's id."""

SETTINGS = {
    "project": "MMA-GAN, a course in notebooks",
    "extensions": ["myst_nb"],
    "root_doc": "README",
    "nb_execution_mode": "off",
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 4,
    "html_theme": "sphinx_book_theme",
    "html_js_files": ["panels.js"],
    "html_theme_options": {
        "navbar_start": [],
        "navbar_persistent": [],
        "navbar_end": [],
        "use_download_button": False,
    },
    "html_context": {"default_mode": "auto"},
    "html_title": "MMA-GAN, a course in notebooks",
    "html_copy_source": False,
    "html_show_copyright": False,
    "suppress_warnings": ["myst.header", "misc.highlighting_failure"],
}


def build(out: Path, **offered: list) -> None:
    """Write the site.

    Parameters
    ----------
    out : Path
        A folder, which is replaced: ``html`` in it is the site, ``source`` what it was made of.
    **offered : list
        The values that panels offer, as for `Panel.export`; default: all, of one person.

    Raises
    ------
    RuntimeError
        If Sphinx warns of anything, such as a link that leads nowhere.
    """
    shutil.rmtree(out, ignore_errors=True)
    source, html = out / "source", out / "html"
    for document in DOCUMENTS:
        write(source / document.relative_to(ROOT), linked(document.read_text("utf-8"), document))
    with (source / "README.md").open("a", encoding="utf-8") as home:
        home.write(contents())
    for notebook in NOTEBOOKS:
        write(source / "notebooks" / notebook.name, shown(notebook))
    for picture in (ROOT / "docs").glob("*.[pw][ne][gb]*"):
        shutil.copy(picture, source / "docs")
    extra = source / "extra"
    write(extra / "_static" / "panels.js", LISTEN)
    for cell, panel in progress(PANELS.items(), desc="panels", unit="panel"):
        export(panel(), extra / "panels" / f"{cell}.html", offered)
    warnings = out / "warnings.txt"
    settings = SETTINGS | {"html_extra_path": [str(extra)], "exclude_patterns": ["extra"]}
    with warnings.open("w", encoding="utf-8") as file:
        sphinx = Sphinx(source, None, html, out / "doctrees", "html", settings, None, file)
        sphinx.add_html_math_renderer("mathml", (in_line, None), (in_block, None))
        sphinx.build()
    if said := warnings.read_text("utf-8"):
        raise RuntimeError(f"Sphinx warns of the site:\n{said}")


def write(path: Path, text: str) -> None:
    """A file of the site's source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def contents() -> str:
    """The site's list of pages, which stands at its side."""
    lists = (
        f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
        for title, pages in CONTENTS.items()
    )
    return "".join(lists)


def linked(text: str, document: Path) -> str:
    """A text whose links to files that are not on the site lead to the repository."""

    def lead(match: re.Match) -> str:
        target = (document.parent / match[2]).resolve()
        on_site = target in (*DOCUMENTS, *NOTEBOOKS) or target.suffix in (".png", ".webp")
        if on_site or not target.exists():
            return match[0]
        return f"{match[1]}({ADDRESS}/blob/HEAD/{target.relative_to(ROOT)}{match[3] or ''})"

    return re.sub(r"(\[[^\]]*\])\(([^)#:\s]+)(#[^)]*)?\)", lead, text)


def shown(path: Path) -> str:
    """A notebook with panels instead of their pictures, and with its set-up cell folded."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source, path)
        else:
            cell.source = cell.source.removeprefix("# NBVAL_CHECK_OUTPUT\n")  # for the tests alone
        if "setup" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-input")
        if cell.id in PANELS:
            (output,) = cell.outputs
            output.data["text/html"] = frame(cell.id, output.data["text/plain"])
    return nbformat.writes(notebook)


def in_line(writer: HTML5Translator, node: Element) -> None:
    """A formula as browsers draw it without a program and without fonts of ours."""
    writer.body.append(convert(node.astext()))
    raise SkipNode


def in_block(writer: HTML5Translator, node: Element) -> None:
    """The same on lines of its own."""
    writer.body.append(convert(node.astext(), display="block"))
    raise SkipNode


def frame(cell: str, title: str) -> str:
    """The place of a panel on a page."""
    address = f"../panels/{cell}.html"
    return (
        f'<iframe src="{address}" title="{title.partition(":")[0]}" loading="lazy" '
        f'style="width: 100%; height: 640px; border: 0"></iframe>'
        f'<p><a href="{address}">The panel on a page of its own</a></p>'
    )


def export(panel: Panel, path: Path, offered: Mapping[str, list]) -> None:
    """Write a panel's page, of one person and with what else is offered."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {control["name"] for control in panel.controls}
    one = {"identity": [panel.identity]} if "identity" in names else {}
    panel.export(path, **one, **{name: offered[name] for name in offered.keys() & names})
    path.write_text(path.read_text("utf-8") + TELL, encoding="utf-8")
    panel.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="[%(default)s]")
    out = parser.parse_args().out
    build(out)
    print(f"Open {out / 'html' / 'README.html'} in a browser.")
