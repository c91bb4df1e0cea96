"""The website, built from the stored notebooks and opened without a network."""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import browser
import nbformat
import pytest
import website
from browser import Panel, Visit

PICTURES = {"image/png", "image/jpeg"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; its panels offer little, which is quicker."""
    out = tmp_path_factory.mktemp("site")
    website.build(out, rho=[0.0, 0.5, 1.0], expression=["happiness", "surprise"])
    return out / "html"


class Page(HTMLParser):
    """What a page refers to, and where others may refer to in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors, self.tags = [], [], {""}, Counter()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags[tag] += 1
        self.anchors |= {found.get("id"), found.get("name")}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.loads += [found[key] for key in ("src", "href") if found.get(key) and tag != "a"]


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_every_notebook_and_document_has_a_page_in_the_list(site, pages):
    sources = [*website.NOTEBOOKS, *website.DOCUMENTS]
    names = {str(path.relative_to(website.ROOT).with_suffix(".html")) for path in sources}
    assert len(names) >= 10 + 3 + 10
    assert all((site / name).is_file() for name in names)
    listed = {urlsplit(link).path for link in pages[site / "README.html"].links}
    assert names - listed <= {"README.html"}


def test_every_link_within_the_site_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in {*page.links, *page.loads}:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.is_file() or not target.is_relative_to(site) or known:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_pages_load_nothing_from_elsewhere_but_the_two_buttons(pages):
    loads = {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}
    assert {urlsplit(load).path for load in loads} <= browser.ELSEWHERE.keys()


def test_links_to_code_lead_to_the_repository(pages, site):
    links = pages[site / "README.html"].links
    assert f"{website.ADDRESS}/blob/HEAD/mmagan_lite/faces" in links
    assert f"{website.ADDRESS}/blob/HEAD/LICENSE" in links


@pytest.mark.parametrize("path", website.NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_formulas_and_pictures_are_those_of_the_notebook(path, site, pages):
    cells = nbformat.read(path, 4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    texts += [
        output.data["text/markdown"]
        for cell in cells if cell.cell_type == "code"
        for output in cell.outputs if "text/markdown" in output.get("data", {})
    ]  # fmt: skip
    text = re.sub(r"```.*?```|`[^`\n]*`", "", "\n\n".join(texts), flags=re.DOTALL)
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+(?:\n[^$\n]+)?\$", text, re.DOTALL)
    page = pages[site / "notebooks" / f"{path.stem}.html"]
    assert page.tags["math"] == len(formulas)
    shown = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    shown = sum(bool(PICTURES & output.get("data", {}).keys()) for output in shown)
    frames = sum(cell.id in website.PANELS for cell in cells)
    assert page.tags["iframe"] == frames
    outputs = re.findall(r'<img [^>]*src="\.\./_images/', page_text(site, path))
    of_text = len(re.findall(r"!\[[^\]]*\]\((?!https?:)", text))
    assert len(outputs) == shown - frames + of_text


def page_text(site, path):
    return (site / "notebooks" / f"{path.stem}.html").read_text("utf-8")


def test_every_panel_of_a_notebook_works_on_the_site():
    """But for that of a training, which shows a run that is going on."""
    kinds = ("ExpressionExplorer", "SweepStrip", "AttentionInspector", "VariantComparer",
             "ActionUnitPlayground")  # fmt: skip
    named = {
        cell.id
        for path in website.NOTEBOOKS
        for cell in nbformat.read(path, 4).cells
        for output in cell.get("outputs", ())
        if output.get("data", {}).get("text/plain", "").startswith(kinds)
    }
    assert named == website.PANELS.keys()
    assert len(named) >= 8


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path, monkeypatch):
    lost = tmp_path / "docs" / "lost.md"
    lost.parent.mkdir()
    lost.write_text("# Lost\n\n[somewhere](nowhere.md)\n")
    monkeypatch.setattr(website, "ROOT", tmp_path)
    monkeypatch.setattr(website, "DOCUMENTS", [lost])
    monkeypatch.setattr(website, "NOTEBOOKS", [])
    monkeypatch.setattr(website, "PANELS", {})
    monkeypatch.setattr(website, "CONTENTS", {"All": ["docs/lost"]})
    with pytest.raises(RuntimeError, match=r"lost\.md.*nowhere\.md"):
        website.build(tmp_path / "out")


# ------------------------------------------------------------------------------- in the browser


@pytest.fixture(scope="module")
def visit():
    with browser.launched() as chrome:
        yield Visit(chrome)


def test_pages_open_from_the_disk_without_a_fault(visit, site, pages):
    for path in pages:
        visit.page.goto(path.as_uri())
        visit.page.wait_for_load_state()
        assert visit.faults() == [], path.name
        missing = visit.page.locator("img").evaluate_all(
            "(all) => all.filter((i) => i.loading !== 'lazy' && !i.naturalWidth).map((i) => i.src)"
        )
        assert missing == []


def test_formulas_are_drawn(visit, site):
    visit.page.goto((site / "notebooks" / "05_losses.html").as_uri())
    boxes = visit.page.locator("math").evaluate_all(
        "(all) => all.map((one) => [one.getBoundingClientRect().width, one.textContent])"
    )
    visible = [width for width, _ in boxes if width > 0]  # those in folds have none
    assert len(visible) >= 40
    assert not any("\\" in text for _, text in boxes)  # a command that was not understood


def test_a_panel_edits_and_fits_into_its_page(visit, site):
    visit.page.goto((site / "notebooks" / "09_explore.html").as_uri())
    frame = visit.page.locator("iframe").first
    frame.scroll_into_view_if_needed()
    panel = Panel(frame.content_frame.locator(".mmagan-panel"))
    panel.says("person 1000011, happiness, ρ = 1.0")
    before = panel.picture("output")
    panel.control("surprise").check(force=True)  # its picture lies over the button
    panel.says("person 1000011, surprise, ρ = 1.0")
    after = panel.picture("output")
    assert (before != after).any(-1).mean() > 0.2
    room = frame.evaluate("(frame) => frame.clientHeight")
    needed = frame.content_frame.locator("body").evaluate("(body) => body.offsetHeight")
    assert needed <= room <= needed + 40
    assert visit.faults() == []
