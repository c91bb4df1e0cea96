"""The repository's address: one place decides, one command sets it, none disagrees."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import set_repository as tool
from set_repository import NOT_SET, places, repository, set_repository

ROOT = Path(__file__).resolve().parent.parent

# Where the address of this project stands, whatever it is; links to other projects look otherwise.
STATED = re.compile(
    r"(?:^Repository = \"https://github\.com/|REPOSITORY = \\\"https://github\.com/"
    r"|colab\.research\.google\.com/github/|kernels/welcome\?src=https://github\.com/"
    r"|git\+https://github\.com/|-r https://github\.com/)([\w.-]+/[\w.-]+?)(?=[/\"\s\\)]|$)",
    re.MULTILINE,
)


def stated(root):
    """File name -> the names that it gives the repository."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in places(root)}
    return {name: set(STATED.findall(text)) for name, text in texts.items() if STATED.search(text)}


def disagreeing(root):
    """The files that name another repository than pyproject.toml, or still the one not set."""
    wanted = repository(root)
    found = {name for name, given in stated(root).items() if given != {wanted}}
    if wanted != NOT_SET:
        left = re.compile(rf"github(\.com)?/{NOT_SET}\b")
        found |= {p.name for p in places(root) if left.search(p.read_text(encoding="utf-8"))}
    return found


@pytest.fixture
def copy(tmp_path):
    """The files with the address, which is not set yet."""
    for path in places():
        there = tmp_path / path.relative_to(ROOT)
        there.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, there)
    set_repository(NOT_SET, tmp_path)
    return tmp_path


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_no_place_disagrees():
    assert disagreeing(ROOT) == set()
    notebooks = {path.name for path in ROOT.glob("notebooks/*.ipynb")}
    assert stated(ROOT).keys() >= {*notebooks, "README.md", "pyproject.toml"}


def test_the_code_does_not_repeat_the_address():
    files = [file for folder in ("mmagan_lite", "data_prep", "docs", "benchmarks")
             for file in (ROOT / folder).rglob("*.py")]  # fmt: skip
    assert len(files) > 40
    assert [file.name for file in files if f"/{repository()}" in file.read_text("utf-8")] == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "git+https://github.com/ada/faces", "git+https://github.com/bob/faces"),
        ("README.md", "src=https://github.com/ada/faces", "src=https://github.com/ada/face"),
        ("README.md", "/ada/faces/raw", "/OWNER/NAME/raw"),
        ("README.md", "Licence", "Licence of https://github.com/OWNER/NAME"),
        ("notebooks/03_multi_scale_mixed_attention.ipynb", '= \\"https://github.com/ada/', '= \\"https://github.com/bob/'),
        ("notebooks/00_start_here.ipynb", "google.com/github/ada/", "google.com/github/bob/"),
    ],
)  # fmt: skip
def test_a_place_that_disagrees_is_found(copy, name, old, new):
    set_repository("ada/faces", copy)
    assert disagreeing(copy) == set()
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    assert disagreeing(copy) == {Path(name).name}


def test_the_command_changes_the_address_and_not_one_byte_more(copy):
    before = contents(copy)
    changed = set_repository("ada-l/Lovely.faces_1", copy)
    after = contents(copy)
    assert {path for path in after if after[path] != before[path]} == set(changed)
    assert before.keys() == after.keys()
    assert copy / "pyproject.toml" == changed[-1]
    for path in changed:
        assert b"ada-l/Lovely.faces_1" not in before[path]
        assert after[path].replace(b"ada-l/Lovely.faces_1", b"OWNER/NAME") == before[path]
    for path in copy.glob("notebooks/*.ipynb"):
        assert path in changed
        assert 'REPOSITORY.endswith(\\"/OWNER/NAME\\")' in path.read_text(encoding="utf-8")
        json.loads(after[path])


def test_the_command_may_run_again(copy):
    before = contents(copy)
    set_repository("ada/faces", copy)
    assert set_repository("ada/faces", copy) == []
    once = contents(copy)
    set_repository("bob/faces-2", copy)  # longer than, and beginning like, what follows
    set_repository("bob/faces", copy)
    set_repository("ada/faces", copy)
    assert contents(copy) == once
    set_repository(NOT_SET, copy)
    assert contents(copy) == before


def test_other_addresses_stay(copy):
    set_repository("ada/f.ces", copy)
    others = (
        "https://github.com/ada/f.ces-2 https://github.com/ada/f.ces.js https://github.com/ada/faces"
        " https://gitlab.com/ada/f.ces https://github.com/x/ada/f.ces https://github.com/OWNER/NAMES"
    )
    page = copy / "README.md"
    mine = "See https://github.com/{0}. And https://github.com/{1}"
    page.write_text(f"{others}\n{mine.format('ada/f.ces', NOT_SET)}\n")
    set_repository("bob/x", copy)
    assert page.read_text() == f"{others}\n{mine.format('bob/x', 'bob/x')}\n"


@pytest.mark.parametrize(
    "name",
    ["", "ada", "ada/", "/faces", "ada/faces/x", "https://github.com/ada/faces", "ada/faces.git",
     "-ada/faces", "ada--l/faces", "ada/..", "ada/fa ces", "ada/faces\n", "ädä/faces",
     "ada/fäces", "a" * 40 + "/x"],
)  # fmt: skip
def test_a_wrong_name_gets_one_sentence_and_changes_nothing(tmp_path, name):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"is not OWNER/NAME; give .* such as ada/faces") as caught:
        set_repository(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_what_was_cut_off_is_finished_by_the_same_command(copy, monkeypatch):
    before, moves = contents(copy), []

    def fails_at_the_third(source, target):
        moves.append(target)
        if len(moves) == 3:
            raise OSError("the disk is full")
        os.rename(source, target)

    monkeypatch.setattr(tool.os, "replace", fails_at_the_third)
    with pytest.raises(OSError, match="full"):
        set_repository("ada/faces", copy)
    monkeypatch.undo()
    between = contents(copy)
    assert between.keys() == before.keys()
    assert sum(between[path] != before[path] for path in before) == 2
    set_repository("ada/faces", copy)
    assert disagreeing(copy) == set()


def test_the_command_line(copy):
    command = shutil.copy(ROOT / "notebooks" / "set_repository.py", copy / "notebooks")
    told = [subprocess.run([sys.executable, command, name], capture_output=True, text=True)
            for name in ("x", "ada/faces", "ada/faces")]  # fmt: skip
    assert [run.returncode for run in told] == [1, 0, 0]
    assert told[0].stderr.startswith("'x' is not OWNER/NAME; give")
    assert told[0].stderr.count("\n") == 1
    assert told[1].stdout.splitlines()[-1].endswith("pyproject.toml")
    assert told[2].stdout == "Nothing to change.\n"
    assert repository(copy) == "ada/faces"
