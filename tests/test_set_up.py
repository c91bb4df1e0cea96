"""The set-up behind `make`, with a Python that only pretends: what can go wrong, and its words."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALLS = 3  # calls of pip in one set-up

PYTHON = """#!/bin/sh
case "$*" in
  "-m venv"*)
    mkdir -p "$3/bin"
    [ -e broken-venv ] && exit 1
    cp "$0" "$3/bin/python" ;;
  *sys.exit*) [ ! -e too-old ] ;;
  --version) echo Python 3.9.1 ;;
  *"install -q"*)
    echo "$*" >> installs
    ! { [ -e disk-full ] && [ "$(wc -l < installs)" -ge 2 ]; } ;;
esac
"""


@pytest.fixture
def fresh(tmp_path):
    """A folder with our Makefile and a Python that notes what it is asked to install."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-no-deps.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def set_up(folder):
    """Run `make setup` there."""
    return subprocess.run(
        ["make", "setup", f"PYTHON={folder / 'python'}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def installs(folder):
    return (folder / "installs").read_text().splitlines()


def test_set_up_a_second_time_installs_nothing(fresh):
    assert set_up(fresh).returncode == 0
    assert len(installs(fresh)) == INSTALLS
    assert set_up(fresh).returncode == 0
    assert len(installs(fresh)) == INSTALLS


@pytest.mark.parametrize(
    "changed", ["pyproject.toml", "constraints.txt", "requirements-no-deps.txt"]
)
def test_changed_requirements_are_installed(fresh, changed):
    set_up(fresh)
    done = (fresh / ".venv" / "set-up").stat().st_mtime
    os.utime(fresh / changed, (done + 1, done + 1))
    assert set_up(fresh).returncode == 0
    assert len(installs(fresh)) == 2 * INSTALLS


def test_everything_is_installed_in_the_tested_versions(fresh):
    set_up(fresh)
    calls = installs(fresh)
    assert [call.count("-c constraints.txt") for call in calls] == [1, 1, 0]
    (extras,) = re.findall(r"-e \.\[(.+)\]$", calls[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(extras.split(",")) == sorted(project["optional-dependencies"])
    assert calls[2].endswith("--no-deps -r requirements-no-deps.txt")


def test_a_set_up_that_stops_half_way_goes_on(fresh):
    (fresh / "disk-full").touch()
    assert set_up(fresh).returncode != 0
    assert len(installs(fresh)) == 2
    assert "| set-up stops half way |" in README
    (fresh / "disk-full").unlink()
    assert set_up(fresh).returncode == 0
    assert len(installs(fresh)) == 2 + INSTALLS


def test_a_venv_that_was_cut_short_is_made_again(fresh):
    set_up(fresh)
    for name in ("made", "set-up"):
        (fresh / ".venv" / name).unlink()
    (fresh / ".venv" / "bin" / "python").write_text("#!/bin/sh\necho No module named pip; exit 1\n")
    assert set_up(fresh).returncode == 0
    assert len(installs(fresh)) == 2 * INSTALLS


@pytest.mark.parametrize(
    ("wrong", "symptom", "said"),
    [
        ("too-old", "Python 3.11 or later is needed", "; found Python 3.9.1"),
        ("broken-venv", "install python3-venv", "could not make .venv"),
    ],
)
def test_a_python_that_will_not_do_gets_a_sentence_and_leaves_nothing(fresh, wrong, symptom, said):
    (fresh / wrong).touch()
    run = set_up(fresh)
    assert run.returncode != 0
    assert symptom in run.stderr
    assert said in run.stderr
    assert f"| `{symptom}` |" in README
    assert not (fresh / ".venv").exists()
    (fresh / wrong).unlink()
    assert set_up(fresh).returncode == 0
