"""The files around the code: requirements, package contents, documents."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch", "lazy_loader": "lazy-loader"}


def requirements(*groups):
    """Name -> floor of the given extras, "" being what is always needed."""
    extras = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    found = [Requirement(line) for group in groups or extras for line in extras[group]]
    return {r.name: str(r.specifier) for r in found}


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in found}


def tracked():
    """The files that git tracks, or a skip where this is no checkout."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_conda_gets_the_same_floors_as_pip():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = [Requirement(line) for line in lines]
    conda = {CONDA_NAMES.get(r.name, r.name): str(r.specifier) for r in found}
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    assert conda == requirements()


def test_tested_versions_meet_the_floors():
    tested = constraints()
    for name, floor in requirements().items():
        assert Requirement(name + floor).specifier.contains(tested[name]), name


@pytest.mark.skipif(sys.platform != "linux", reason="constraints.txt was made on Linux")
def test_constraints_name_everything_that_gets_installed():
    waiting, seen = {(name, "") for name in requirements()}, set()
    while waiting:
        name, extra = waiting.pop()
        seen.add((name, extra))
        for needed in map(Requirement, importlib.metadata.requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting |= {(canonicalize_name(needed.name), e) for e in {"", *needed.extras}}
        waiting -= seen
    assert {name for name, _ in seen} - constraints().keys() == set()


def test_wheel_holds_every_file_of_both_packages(tmp_path):
    ours = [file.relative_to(ROOT) for file in tracked()]
    source = tmp_path / "source"
    for name in ours:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {str(name) for name in ours if name.parts[0] in ("mmagan_lite", "data_prep")}


def test_no_tracked_file_is_large():
    assert [file.name for file in tracked() if file.stat().st_size > 8e6] == []


def test_no_tracked_file_names_a_machine():
    a_place = re.compile(
        rb"(?<![\w.])/(?:work|root|home|Users|farm)/|py[p]i\.org|python[h]osted|npm[j]s\.org"
    )
    texts = [file for file in tracked() if b"\0" not in file.read_bytes()[:8000]]
    assert [file.name for file in texts if a_place.search(file.read_bytes())] == []


def test_commands_in_documents_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page, least in (("README.md", {"lab", "test"}), ("CONTRIBUTING.md", {"test"})):
        named = set(re.findall(r"(?:^|`|; )make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
        assert least <= named <= set(targets), page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_in_documents_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text())
    assert links
    assert [x for x in links if "://" not in x and not (ROOT / x).exists()] == []


def test_changelog_names_this_version():
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading[1] == PROJECT["version"]
