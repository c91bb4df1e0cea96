"""What nbval does not see: marks that check nothing, shell errors, outputs that do not travel."""

import ast
import importlib
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from refresh import clean, digest, refresh

import mmagan_lite
from mmagan_lite.widgets import source

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

MARK = "# NBVAL_CHECK_OUTPUT"
LIKE_A_MARK = re.compile(r"nb.?val|nvbal|validate_ignore|check.?output", re.IGNORECASE)
ALLOWED_TAGS = {"setup", "raises-exception"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|Users|tmp|mnt|opt|var)/|[A-Z]:\\Users")
PROGRESS_BAR = re.compile(r"\d%\|")
MOST_BYTES = 1_500_000


ANATOMY = {
    "a title with its number": r"\A# \d\d · ",
    "what you will be able to do": r"^\| \*\*You will be able to\*\* \| .",
    "what you need": r"^\| \*\*You need\*\* \| .",
    "how long it takes": r"^\| \*\*Time\*\* \| .*\b(minutes?|hours?|as long as)\b",
    "how much memory": r"^\| \*\*Memory\*\* \| .*\bGB\b",
    "a prediction": r"\*\*Predict first",
    "what you should see": r"^#+ What you should see$",
    "something to break": r"^(#+ (\d+\. )?|\*\*)Break it\b",
    "a recap with three questions and folded answers": (
        r"^## (\d+\. )?Recap\n(?s:.*[Tt]hree questions(.*?<details>.+?</details>){3})"
    ),
}


def missing_parts(notebook):
    """What each notebook of the course has and this one lacks."""
    text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown") + "\n"
    for part, pattern in ANATOMY.items():
        if not re.search(pattern, text, re.MULTILINE):
            yield part


def faults(notebook):
    """Everything wrong with a notebook, one sentence each."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(re.search(r"^(import|from) mmagan_lite", c.source, re.MULTILINE) for c in code):
        yield "does not import mmagan_lite"
    if not any(is_marked(cell) for cell in code):
        yield "has no checked cell"
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "was not run from top to bottom"
    if len(json.dumps([cell.outputs for cell in code])) > MOST_BYTES:
        yield "has outputs of more than 1.5 MB"
    if any("state" not in w for w in notebook.metadata.get("widgets", {}).values()):
        yield "has widget metadata without state"
    if MACHINE_PATH.search("\n".join(cell.source for cell in notebook.cells)):
        yield "names a path of one machine in a cell"
    for number, cell in enumerate(code, 1):
        for fault in cell_faults(cell):
            yield f"code cell {number} {fault}"


def cell_faults(cell):
    tags = set(cell.metadata.get("tags", []))
    stored = "\n".join(texts(cell.outputs))
    if any(LIKE_A_MARK.search(x) and x.strip() != MARK for x in cell.source.splitlines()):
        yield "has a mark that nbval does not know or that checks nothing"
    if "setup" not in tags and cell.metadata.get("ran") != digest(cell.source):
        yield "was edited after it was run; run `make notebooks`"
    if tags - ALLOWED_TAGS:
        yield f"has unknown tags {sorted(tags - ALLOWED_TAGS)}"
    if is_marked(cell) and not has_text(cell):
        yield "is checked but has no text to compare"
    if "raises-exception" in tags and not is_marked(cell):
        yield "may raise but is not checked"
    if "raises-exception" not in tags and any(o.output_type == "error" for o in cell.outputs):
        yield "ends in an error"
    if "setup" not in tags and not is_plain_python(cell.source):
        yield "is not plain Python; magics and shell commands belong in the set-up cell"
    if MACHINE_PATH.search(stored):
        yield "has a path of one machine in its output"
    if any(o.get("name") == "stderr" for o in cell.outputs):
        yield "printed a warning or other text to stderr"
    if PROGRESS_BAR.search(stored):
        yield "shows a progress bar that nothing turned off"
    if any(is_live_only(output) for output in cell.outputs):
        yield "shows a widget without a picture of it"


def texts(stored):
    """Every text in stored outputs, pictures aside."""
    if isinstance(stored, str):
        yield stored
    elif isinstance(stored, dict):
        for key, value in stored.items():
            yield from () if key.startswith("image/") else texts(value)
    elif isinstance(stored, list):
        for value in stored:
            yield from texts(value)


def is_marked(cell):
    return MARK in (line.strip() for line in cell.source.splitlines())


def has_text(cell):
    """Whether nbval has more to compare than <Figure ...>, which an empty plot prints too."""
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return any(text.strip() and not text.startswith("<Figure") for text in texts)


def is_plain_python(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def is_live_only(output):
    kinds = output.get("data", {}).keys()
    return any("widget-view" in kind for kind in kinds) and "image/png" not in kinds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_no_faults(path):
    notebook = nbformat.read(path, as_version=4)
    assert list(faults(notebook)) == []
    assert list(missing_parts(notebook)) == []


@pytest.mark.parametrize("part", ANATOMY)
def test_each_part_is_missed(part):
    whole = nbformat.read(NOTEBOOKS[0], as_version=4)
    text = "\n\n".join(c.source for c in whole.cells if c.cell_type == "markdown")
    while re.search(ANATOMY[part], text, re.MULTILINE):  # it may be there several times
        text = re.sub(ANATOMY[part], "-", text, flags=re.MULTILINE)
    assert part in missing_parts(new_notebook(cells=[new_markdown_cell(text)]))


def printed(text):
    return new_output("stream", name="stdout", text=text)


def picture(text):
    return new_output("display_data", {"image/png": "iVBO", "text/plain": text})


def cell(source, *outputs, count=2, tags=()):
    metadata = {"tags": list(tags)} if tags else {}
    if "setup" not in tags:
        metadata["ran"] = digest(source)
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def edited(cell, source):
    return nbformat.from_dict({**cell, "source": source})


def notebook(*cells, imports="import mmagan_lite as mg"):
    return new_notebook(cells=[cell(imports, count=1), *cells])


GOOD = cell(f"{MARK}\nprint(6 * 7)", printed("42\n"))


def test_a_sound_notebook_has_no_faults():
    assert list(faults(notebook(GOOD))) == []


@pytest.mark.parametrize(
    ("sentence", "bad"),
    [
        ("import mmagan_lite", notebook(GOOD, imports="import torch")),
        ("no checked cell", notebook(cell("6 * 7", printed("42")))),
        ("top to bottom", notebook(cell(GOOD.source, printed("42"), count=None))),
        ("top to bottom", notebook(GOOD, cell("1", count=7))),
        ("1.5 MB", notebook(GOOD, cell("1", printed("9" * MOST_BYTES), count=3))),
        ("path of one machine in a cell", notebook(GOOD, new_markdown_cell("see /tmp/me/x"))),
        ("path of one machine in its out", notebook(cell(MARK, printed("in /tmp/x.pt")))),
        ("path of one machine in its out", notebook(cell(MARK, printed("1\n/home/ada/x\n")))),
        ("path of one machine in its out", notebook(cell(MARK, printed("C:\\Users\\ada")))),
        ("path of one machine in its out", notebook(GOOD, cell("1", picture("\t/tmp/x"), count=3))),
        ("mark", notebook(GOOD, cell("# NBVAL_CHECK_OUTPUT because it matters", count=3))),
        ("mark", notebook(GOOD, cell("# NVBAL_CHECK_OUTPUT", count=3))),
        ("mark", notebook(GOOD, cell("# CHECK OUTPUT", count=3))),
        ("mark", notebook(GOOD, cell('text = """\n# NBVAL_SKIP\n"""', count=3))),
        ("mark", notebook(GOOD, cell("# PYTEST_VALIDATE_IGNORE_OUTPUT", count=3))),
        ("edited after", notebook(edited(GOOD, GOOD.source + "  # the answer"))),
        ("edited after", notebook(GOOD, edited(cell("n = 30", count=3), "n = 3"))),
        ("unknown tags", notebook(GOOD, cell("1", count=3, tags=["nbval-skip"]))),
        ("no text", notebook(cell(MARK))),
        ("no text", notebook(cell(MARK, picture("<Figure size 640x480 with 1 Axes>")))),
        ("may raise", notebook(GOOD, cell("1", count=3, tags=["raises-exception"]))),
        ("error", notebook(GOOD, cell("1/0", new_output("error"), count=3))),
        ("plain Python", notebook(GOOD, cell("%pip install lpips", count=3))),
        ("plain Python", notebook(GOOD, cell("!exit 3", count=3))),
        ("progress", notebook(cell(MARK, printed("  0%|       | 0/4 [00:00<?, ?step/s]")))),
        ("stderr", notebook(cell(MARK, printed("42"), new_output("stream", name="stderr")))),
        (
            "without a picture",
            notebook(
                cell(
                    MARK,
                    new_output(
                        "display_data",
                        {
                            "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
                            "text/plain": "IntSlider(value=0)",
                        },
                    ),
                )
            ),
        ),
    ],
)
def test_each_fault_is_found(sentence, bad):
    found = list(faults(bad))
    assert len(found) == 1
    assert sentence in found[0]


def test_widget_metadata_without_state_is_found():
    bad = notebook(GOOD)
    bad.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"version_major": 2}}
    assert list(faults(bad)) == ["has widget metadata without state"]


def test_set_up_cell_may_install():
    assert list(faults(notebook(GOOD, cell("%pip install x", count=3, tags=["setup"])))) == []


def set_up(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if "setup" in cell.metadata.get("tags", [])]


def test_the_set_up_cell_is_the_same_everywhere():
    first = set_up(NOTEBOOKS[0])
    assert len(first) == 1
    assert [path.name for path in NOTEBOOKS if set_up(path) != first] == []


def test_refreshed_outputs_are_the_same_twice(tmp_path):
    path = tmp_path / "small.ipynb"
    source = "import ipywidgets\nprint(1, flush=True)\nprint(2)\nipywidgets.IntSlider()"
    before = new_notebook(cells=[new_code_cell(source, metadata={"ExecuteTime": "now"})])
    nbformat.write(before, path)
    refresh(path)
    once = path.read_bytes()
    refresh(path)
    assert path.read_bytes() == once
    (ran,) = nbformat.read(path, as_version=4).cells
    assert (ran.execution_count, ran.metadata) == (1, {"ran": digest(source)})
    assert ran.outputs[0].text == "1\n2\n"
    assert ran.outputs[1].data.keys() == {"text/plain"}
    assert [file.name for file in tmp_path.iterdir()] == ["small.ipynb"]


def test_a_failing_notebook_is_left_as_it_was(tmp_path):
    path = tmp_path / "failing.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        refresh(path)
    assert path.read_bytes() == before


def test_cleaning_keeps_tags_and_pictures():
    dirty = notebook(cell("1", picture("<Figure>"), tags=["setup"]))
    clean(dirty)
    assert dirty.cells[0].metadata == {"ran": digest(dirty.cells[0].source)}
    assert dirty.cells[1].metadata == {"tags": ["setup"]}
    assert dirty.cells[1].outputs[0].data.keys() == {"image/png", "text/plain"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_stored_listings_show_the_code_as_it_is(path):
    for cell in nbformat.read(path, 4).cells:
        call = cell.source.splitlines()[-1] if cell.cell_type == "code" else ""
        if not call.startswith("source("):
            continue
        names = {node.id for node in ast.walk(ast.parse(call)) if isinstance(node, ast.Name)}
        rooms = {
            name: importlib.import_module(f"mmagan_lite.{name}")
            for name in names - {"source", "mg"}
        }
        shown = eval(call, {"source": source, "mg": mmagan_lite, **rooms})
        (output,) = cell.outputs
        assert output.data["text/markdown"] == shown.data, f"{call}: run `make notebooks`"
