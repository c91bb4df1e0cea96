"""Whether the comparison of the notebooks can fail: each stored output that is checked, altered.

Nothing is excused from the comparison: a text that may differ between two runs is not printed in
a checked cell.
"""

import copy
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import IPyNbFile
from test_notebooks import MARK, NOTEBOOKS

# Checked cells in each notebook. Raise a number with the notebook; lower one only on purpose.
LEAST = {
    "00": 13, "01": 18, "02": 25, "03": 25, "04": 29, "05": 32, "06": 29, "07": 22, "08": 20,
    "09": 15,
}  # fmt: skip
PICTURES = ("image/", "application/vnd.jupyter")  # not compared: they differ between machines


def checked_cells(path, session):
    """The cells of a notebook that nbval compares, as nbval itself reads them."""
    file = IPyNbFile.from_parent(session, path=path)
    return [cell for cell in file.collect() if cell.options["check"] and MARK in cell.cell.source]


def texts(output):
    """Where an output holds text that a reader sees: (mapping, key) pairs."""
    if output.output_type == "error":
        return [(output, "ename"), (output, "evalue")]
    if "text" in output:
        return [(output, "text")]
    return [(output.data, kind) for kind in output.data if not kind.startswith(PICTURES)]


def alterations(text):
    """Small changes that a wrong program would make in a text: what is done, and the result."""
    lines = text.splitlines(keepends=True)
    yield "a word more", text.rstrip("\n") + " more\n"
    for number in range(len(lines)):
        yield f"without line {number + 1}", "".join(lines[:number] + lines[number + 1 :])
    for found in re.finditer(r"\d", text):
        other = str((int(found[0]) + 1) % 10)
        yield f"digit {found.start()}", text[: found.start()] + other + text[found.end() :]
    for found in re.finditer("True|False", text):
        other = {"True": "False", "False": "True"}[found[0]]
        yield f"verdict {found.start()}", text[: found.start()] + other + text[found.end() :]


def altered(outputs):
    """All copies of a cell's outputs with one alteration, or with one output missing."""
    for place, output in enumerate(outputs):
        yield f"without output {place + 1}", outputs[:place] + outputs[place + 1 :]
        for number, (holder, key) in enumerate(texts(output)):
            for what, text in alterations(holder[key]):
                changed = copy.deepcopy(outputs)
                there, _ = texts(changed[place])[number]
                there[key] = text
                yield f"output {place + 1}, {key}: {what}", changed


def passes(cell, outputs):
    """Whether nbval takes outputs for those that the notebook stores."""
    return cell.compare_outputs(copy.deepcopy(outputs), copy.deepcopy(cell.cell.outputs))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_every_altered_output_is_noticed(path, request):
    cells, tried, unnoticed = checked_cells(path, request.session), 0, []
    assert len(cells) >= LEAST[path.stem[:2]] >= 8
    for cell in cells:
        assert passes(cell, cell.cell.outputs)
        for what, outputs in altered(cell.cell.outputs):
            tried += 1
            if passes(cell, outputs):
                unnoticed.append(f"{cell.name}: {what}")
    assert tried > 4 * len(cells)
    print(path.stem, len(cells), "checked cells,", tried, "alterations")
    assert unnoticed == []


@pytest.mark.parametrize("stored", ["42\n", "43\n"])
def test_a_run_with_an_altered_output_fails(tmp_path, stored):
    source = f"{MARK}\nimport mmagan_lite as mg\nprint(6 * 7)"
    printed = new_output("stream", name="stdout", text=stored)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = new_notebook(
        cells=[new_code_cell(source, outputs=[printed], execution_count=1)], metadata=kernel
    )
    nbformat.write(notebook, tmp_path / "small.ipynb")
    options = ["--nbval-lax", "--nbval-current-env"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run([*command, "small.ipynb"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (stored != "42\n"), done.stdout
    assert ("1 passed" in done.stdout) == (stored == "42\n")
