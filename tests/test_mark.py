"""Marking a class: each answer in a process that may do anything, and a table of what came out."""

import contextlib
import io
import json
import os
import re
import time
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mmagan_lite.exercises import EXERCISES, mark
from mmagan_lite.exercises.mark import Mark, answers, judge, judge_apart, main, submissions

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)

BRIGHTER = "def changed(face, neutral):\n    return (face > neutral).any(1)\ncheck.changed(changed)"
LOOP = "def changed(face, neutral):\n    while True: pass\ncheck.changed(changed)"
RIGHT = """
half = lambda a, b: a - b
def changed(face, neutral):
    return (half(face, neutral) != 0).any(1)
check.changed(changed)
"""


def course_notebook(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return nbformat.read(path, as_version=4)


def write(path, *replaced, number="01"):
    """A copy of a notebook of the course, in which some cells are a student's."""
    notebook = course_notebook(number)
    for source in replaced:
        name = re.search(r"check\.(\w+)", source)[1]
        (cell,) = (c for c in notebook.cells if f"check.{name}(" in c.source)
        cell.source = source
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def of(source, name="changed"):
    return ["import os, sys, time\nimport torch\nfrom mmagan_lite.exercises import check", source]


@pytest.mark.parametrize("number", sorted({made.notebook for made in EXERCISES.values()}))
def test_the_courses_own_solutions_are_green_and_its_stubs_not_attempted(number):
    notebook = course_notebook(number)
    stubs = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    solved = list(stubs)
    for text in (cell.source for cell in notebook.cells if cell.cell_type == "markdown"):
        for solution in SOLUTION.findall(text):
            name = re.search(r"^(?:def|class) (\w+)", solution, re.MULTILINE)[1]
            (place,) = (i for i, s in enumerate(stubs) if f"check.{name}(" in s)
            solved[place] = f"{solution}\ncheck.{name}({name})"
    here = [name for name, made in EXERCISES.items() if made.notebook == number]
    for sources, state in ((solved, "green"), (stubs, "not attempted")):
        states = {n: judge(n, sources[: mark._last(mark.CALL, sources)[n] + 1]) for n in here}
        assert {n: str(found) for n, found in states.items()} == dict.fromkeys(here, state)


@pytest.mark.parametrize(
    ("source", "state", "detail"),
    [
        (RIGHT, "green", ""),
        (BRIGHTER, "red", "sees only what gets brighter"),
        (BRIGHTER.replace("> neutral", "> neutral + 9"), "red", "the values differ"),
        (BRIGHTER.replace("(face > neutral).any(1)", "no_such_name"), "error", "NameError"),
        (BRIGHTER.replace("return", "return ("), "error", "SyntaxError"),
        (BRIGHTER.replace("return (face", "sys.exit(0); (face"), "error", "SystemExit"),
        ("raise KeyError(5)\n" + BRIGHTER, "error", "KeyError: 5"),
        ("check.changed(changed)", "error", "NameError"),
    ],
)
def test_an_answer_gets_its_mark(source, state, detail):
    found = judge("changed", of(source))
    assert (found.state, detail in found.detail) == (state, True), found


def test_a_known_mistake_is_named_by_number():
    number = [m.belief for m in EXERCISES["changed"].misconceptions].index(
        "sees only what gets brighter"
    )
    assert str(judge("changed", of(BRIGHTER))) == f"red {number + 1}: sees only what gets brighter"


def test_cells_before_count_only_where_they_define_something():
    cells = [
        "import no_such_package",
        "%matplotlib inline\nSMALL = 0",
        "this is no Python",
        "raise SystemExit\nimport torch",
        "time.sleep(1e6)",
        "def different(a, b):\n    return (a - b).abs() > SMALL",
        "later = torch.no_such_thing",
        "from mmagan_lite.exercises import check",
        "def changed(face, neutral):\n    return different(face, neutral).any(1)\n"
        "print(input())\nshown = 5\ncheck.changed(changed)",
    ]
    assert judge("changed", cells) == Mark("green")


# --- what a process may do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("while True: pass", "timeout: no answer within 3 s"),
        ("time.sleep(1000)", "timeout: no answer within 3 s"),
        ("os._exit(7)", "error: ended its process (exit status 7)"),
        ("os.kill(os.getpid(), 11)", "error: ended its process (exit status -11)"),
        ("torch.ones(int(1e10)).sum()", "error: It raises RuntimeError in case 1"),
        ("bytearray(10**11)", "error: It raises MemoryError in case 1"),
        ("raise RecursionError", "error: It raises RecursionError in case 1"),
    ],
)
def test_whatever_an_answer_does_costs_one_cell(line, said, capfd):
    source = f"def changed(face, neutral):\n    print('noise', flush=True)\n    {line}"
    assert str(judge_apart("changed", of(source), seconds=3)).startswith(said)
    assert capfd.readouterr() == ("", "")


def test_definitions_count_for_the_time_limit_too():
    sources = ["while True: pass", "x = [0 for _ in iter(int, 1)]\ndef changed(a, b): pass"]
    assert judge_apart("changed", sources, seconds=3).state == "timeout"


def test_what_an_answer_has_started_ends_with_it(tmp_path):
    source = (
        "import subprocess\n"
        f"child = subprocess.Popen(['sleep', '600'])\n"
        f"_ = open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "while True: pass\ndef changed(a, b): pass"
    )
    assert judge_apart("changed", [source], seconds=5).state == "timeout"
    status = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    until = time.monotonic() + 10
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        while status.read_text().split()[2] != "Z":
            assert time.monotonic() < until
            time.sleep(0.05)


def test_an_answer_writes_into_a_folder_that_goes_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "_ = open('left.txt', 'w').write('x')\nassert os.listdir() == ['left.txt']\n" + RIGHT
    assert judge_apart("changed", of(source)) == Mark("green")
    assert list(tmp_path.iterdir()) == []


# --- a class --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesson") / "class"
    write(folder / "ada.ipynb", RIGHT)
    write(folder / "ben" / "01.ipynb", BRIGHTER)
    write(folder / "ben" / ".ipynb_checkpoints" / "01-checkpoint.ipynb", RIGHT)
    write(folder / "cy" / "first try.ipynb", LOOP)
    write(folder / "cy" / "second try.ipynb", BRIGHTER)
    write(folder / "dora.ipynb")
    (folder / "eve.ipynb").write_text("{")
    return folder


def run(capsys, *arguments):
    status = main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def marked(classroom):
    """The class's table, and what was said."""
    out, said = classroom.parent / "marks.csv", io.StringIO()
    with redirect_stdout(said):
        assert main([str(classroom), "--out", str(out), "--seconds", "5"]) == 0
    return out, said.getvalue()


def test_a_class_is_marked(marked):
    out, said = marked
    table = pd.read_csv(out, index_col="student")
    assert list(table.index) == ["ada", "ben", "cy", "dora", "eve"]
    assert list(table) == ["solved", "tried", "changed", "level", "split_by_person", "note"]
    assert table["solved"].tolist() == [1, 0, 0, 0, 0]
    assert table["tried"].tolist() == [1, 1, 1, 0, 0]
    red = str(judge("changed", of(BRIGHTER)))
    assert table["changed"].tolist()[:4] == ["green", red, red, "not attempted"]
    assert (table.loc["ada":"dora", "level":"split_by_person"] == "not attempted").all(axis=None)
    assert table.loc["eve"].drop(["solved", "tried", "note"]).isna().all()
    assert "eve.ipynb is not a readable notebook" in table.loc["eve", "note"]
    assert "eve: eve.ipynb is not a readable notebook" in said
    assert "4 of 5 students were marked." in said


def test_the_summary_counts_and_names_the_most_common_mistake(marked):
    summary = pd.read_csv(marked[0].with_name("marks-summary.csv"), index_col="exercise")
    changed = summary.loc["changed"]
    assert changed[["notebook", "solved", "tried", "students"]].tolist() == [1, 1, 3, 4]
    assert changed["most common mistake"].startswith("2 × mistake ")
    assert changed["most common mistake"].endswith("sees only what gets brighter")
    assert summary.loc["level", "solved"] == 0
    assert pd.isna(summary.loc["level", "most common mistake"])


def test_the_course_itself_as_a_class(tmp_path, capsys, monkeypatch):
    """Every exercise of every notebook is found in the form in which students get it."""
    monkeypatch.setattr(mark, "judge_apart", lambda name, sources, *_: Mark(sources[-1][-60:]))
    monkeypatch.setattr(mark, "BEST_FIRST", ())
    found = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        if path.name.startswith(("00", "09")):
            continue
        for name, sources in answers(path).items():
            found[name] = f"check.{name}({name})" in sources[-1]
    assert found == dict.fromkeys(EXERCISES, True)


def test_a_missing_check_is_replaced_by_the_last_definition(tmp_path):
    write(tmp_path / "a.ipynb", BRIGHTER)
    notebook = nbformat.read(tmp_path / "a.ipynb", 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("check.level(level)", "")
    nbformat.write(notebook, tmp_path / "a.ipynb")
    found = answers(tmp_path / "a.ipynb")
    assert found.keys() == {"changed", "level", "split_by_person"}
    assert judge("level", found["level"]) == Mark("not attempted")


def test_nothing_is_half_written(classroom, tmp_path, capsys, monkeypatch):
    out = tmp_path / "marks.csv"
    out.write_text("before")
    monkeypatch.setattr(mark, "judge_apart", lambda *_: os.kill(os.getpid(), 2) or time.sleep(5))
    status, _, said = run(capsys, classroom, "--out", out)
    assert (status, said) == (130, "Stopped; nothing was written.\n")
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"marks.csv"}


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (None, [], "There is no folder"),
        ({}, [], "There are no notebooks in"),
        ({"a.txt": "x"}, [], "There are no notebooks in"),
        ({"a.ipynb": "{}"}, [], "a.ipynb is not a readable notebook"),
        ({"a.ipynb": "no check"}, [], "a.ipynb holds no exercise of the course"),
        ({"a.ipynb": "check.level(level)"}, ["--seconds", "0"], "must be larger than 0"),
        ({"a.ipynb": "check.level(level)"}, ["--seconds", "nan"], "at most 86,400"),
        ({"a.ipynb": "check.level(level)"}, ["--seconds", "1e400"], "at most 86,400"),
        ({"a.ipynb": "check.level(level)"}, ["--gigabytes", "inf"], "at most 1,000"),
        ({"a.ipynb": "check.level(level)"}, ["--out", "/dev/null/x.csv"], "could not be written"),
        ({"a.ipynb": "check.level(level)"}, ["--out", "/"], "it is a folder); choose another file"),
    ],
)
def test_bad_input_gets_one_sentence(make, options, sentence, tmp_path, capsys):
    folder = tmp_path / "class"
    for name, text in (make or {}).items():
        folder.mkdir(exist_ok=True)
        if text not in ("{}", "x"):
            text = nbformat.writes(new_notebook(cells=[new_code_cell(text)]))
        (folder / name).write_text(text)
    if make == {}:
        folder.mkdir()
    status, out, said = run(capsys, folder, *options)
    assert (status, out, said.count("\n")) == (2, "", 1)
    assert sentence in said


def test_old_notebooks_are_read(tmp_path):
    old = {
        "nbformat": 3, "nbformat_minor": 0, "metadata": {},
        "worksheets": [{"cells": [{"cell_type": "code", "language": "python", "outputs": [],
                                   "input": BRIGHTER}]}],
    }  # fmt: skip
    (tmp_path / "a.ipynb").write_text(json.dumps(old))
    assert list(answers(tmp_path / "a.ipynb")) == ["changed"]


def test_hand_ins_of_other_kinds_and_other_notebooks_have_a_row(tmp_path, capsys):
    for name in ("ada.ipynb", "ben.IPYNB"):
        write(tmp_path / "class" / name, BRIGHTER)
    (tmp_path / "class" / "cy").mkdir()
    (tmp_path / "class" / "cy" / "hw.zip").write_bytes(b"PK")
    (tmp_path / "class" / "dora.py").write_text("x = 1")
    loss = "check.adversarial(lambda real, fake: real.mean() - fake.mean())"
    write(tmp_path / "class" / "=eve.ipynb", loss, number="05")
    out = tmp_path / "marks.csv"
    status, said, _ = run(capsys, tmp_path / "class", "--out", out)
    assert status == 0
    table = pd.read_csv(out, index_col="student")
    assert list(table.index) == ["'=eve", "ada", "ben", "cy", "dora"]
    assert (table.loc[["cy", "dora"], "note"] == "no notebook was found").all()
    assert table.loc["'=eve", "adversarial"] == "green"
    assert table.loc["'=eve", ["changed", "level"]].isna().all()  # of another notebook
    assert table.loc["ada", ["adversarial"]].isna().all()
    summary = pd.read_csv(tmp_path / "marks-summary.csv", index_col="exercise")
    assert summary.loc["changed", "students"] == 2
    assert "3 of 5 students were marked." in said


@pytest.mark.parametrize(
    "source",
    [
        'answers["changed"] = EDGE\ncheck.changed(changed)',
        "%%time\n\ncheck.changed(changed)",
        "check.changed(changed)",
    ],
)
def test_values_of_other_cells_are_there_if_the_answer_asks_for_them(source):
    cells = [
        "import time\nfrom mmagan_lite.exercises import check\nanswers = dict()",
        "EDGE = ZERO + 0.0\nwaits = time.sleep(1000)",
        "def changed(face, neutral):\n    return ((face - neutral).abs() > EDGE).any(1)",
    ]
    cells[1] = "ZERO = 1 - 1\n" + cells[1]
    assert judge("changed", [*cells, source]).state == "green"


def test_students_are_files_or_folders(classroom):
    found = {student: len(paths) for student, paths in submissions(classroom).items()}
    assert found == {"ada": 1, "ben": 1, "cy": 2, "dora": 1, "eve": 1}
