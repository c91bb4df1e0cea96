"""The way into the course on Colab and Kaggle: set-up cell, buttons, and a machine like Colab's.

colab.txt holds what Colab has. The machine is an environment with Colab's Jupyter in Colab's
versions; large packages are lent by our own environment, and nothing else of ours is seen there.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import venv
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from refresh import WIDGET_VIEW
from set_repository import HOST, NOT_SET, repository

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LACKING = "requirements-no-deps.txt"
ADDRESS = f"{HOST}{repository()}"
JUPYTER = "# Its Jupyter"  # above what the machine gets in Colab's own versions


def listed(lines):
    """Name -> versions of a list of requirements."""
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier) for r in found}


def lacking():
    lines = (ROOT / LACKING).read_text(encoding="utf-8").splitlines()
    return listed(line.partition("#")[0].strip() for line in lines)


def on_colab():
    return listed((ROOT / "tests/colab.txt").read_text(encoding="utf-8").splitlines())


def floors():
    """What the notebooks import, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    used = [extras[key] for key in ("detect", "prepare", "evaluate", "tensorboard")]
    return listed(itertools.chain(project["dependencies"], *used))


def asked(distribution):
    """The names that an installed package asks for."""
    found = map(Requirement, distribution.requires or [])
    wanted = [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(r.name) for r in wanted}


def set_up(path=NOTEBOOKS[0]):
    """The set-up cell of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    (cell,) = [cell for cell in cells if "setup" in cell.metadata.get("tags", [])]
    return cell.source


# ----------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_buttons_open_their_own_notebook(path):
    there = f"{repository()}/blob/main/notebooks/{path.name}"
    title, empty, colab, kaggle, *_ = nbformat.read(path, 4).cells[0].source.splitlines()
    assert (title[:2], empty) == ("# ", "")
    assert colab == (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{there})"
    )
    assert kaggle == (
        "[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
        f"(https://kaggle.com/kernels/welcome?src=https://github.com/{there})"
    )


def test_the_readme_opens_the_first_notebook_and_installs_the_same():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, colab, kaggle, *_ = nbformat.read(NOTEBOOKS[0], 4).cells[0].source.splitlines()
    assert f"\n{colab}\n{kaggle}\n" in page
    symptom = "The course is not installed here"
    assert symptom in set_up()
    assert f"| `{symptom}` |" in page
    (shown,) = re.findall(r"^%pip .+$", page, re.MULTILINE)
    (done,) = re.findall(r"%pip .+", set_up())
    (file,) = re.findall(r'LACKING = f"(.+)"', set_up())
    done = done.replace("{LACKING}", file).replace("{REPOSITORY}", ADDRESS)
    assert shown == done
    assert (ROOT / file.rpartition("/")[2]).is_file()


def test_nothing_that_colab_lacks_is_forgotten():
    waiting, found = floors().keys(), set()
    while waiting := waiting - found - on_colab().keys():
        found |= waiting
        waiting = {n for name in waiting for n in asked(importlib.metadata.distribution(name))}
    assert found - lacking().keys() == set()
    assert lacking().keys() & on_colab().keys() == set()


def test_colab_and_the_list_meet_the_floors():
    for name, floor in floors().items():
        if name in lacking():
            assert lacking()[name] == floor, name
        else:
            assert Requirement(name + floor).specifier.contains(on_colab()[name][2:]), name


# ------------------------------------------------------------------------- the cell, told lies


class Machine:
    """What the set-up cell sees of a machine: whether it is installed, and what pip was told."""

    def __init__(self, installed=False, pip_works=True):
        self.installed, self.pip_works, self.told = installed, pip_works, []

    def find_spec(self, name):
        return "found" if self.installed else None

    def run_line_magic(self, name, line, **_):
        self.told.append(f"%{name} " + line.format(**self.namespace))
        self.installed = self.pip_works

    def run(self, source):
        self.namespace = {"get_ipython": lambda: self}
        exec(TransformerManager().transform_cell(source), self.namespace)
        return self.told


@pytest.fixture
def world(monkeypatch):
    """Set what the cell asks for: a place, an answer of the network, a version of Python."""

    def make(place="colab", answer=b"", version=(3, 13, 1), **machine):
        machine = Machine(**machine)
        monkeypatch.setattr(importlib.util, "find_spec", machine.find_spec)
        monkeypatch.setattr(sys, "version_info", version)
        monkeypatch.delitem(sys.modules, "google.colab", raising=False)
        monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
        if place == "colab":
            monkeypatch.setitem(sys.modules, "google.colab", object())
        if place == "kaggle":
            monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")

        def urlopen(url, timeout):
            machine.told.append(url)
            if isinstance(answer, Exception):
                raise answer
            return io.BytesIO(answer)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        return machine

    return make


def at(address):
    """The set-up cell of a repository with this address."""
    source, n = re.subn(r'REPOSITORY = ".*"', f'REPOSITORY = "{address}"', set_up())
    assert n == 1
    return source


@pytest.mark.parametrize("place", ["", "colab", "kaggle"])
def test_the_cell_does_nothing_where_the_course_is_installed(world, place):
    assert world(place, installed=True, version=(3, 9)).run(at(f"{HOST}{NOT_SET}")) == []


@pytest.mark.parametrize("place", ["colab", "kaggle"])
def test_the_cell_installs_the_course_and_the_list_without_dependencies(world, place):
    assert world(place).run(at("https://github.com/ada/faces")) == [
        "https://github.com/ada/faces/raw/HEAD/requirements-no-deps.txt",
        "%pip install -q --no-deps git+https://github.com/ada/faces"
        " -r https://github.com/ada/faces/raw/HEAD/requirements-no-deps.txt",
    ]


MISSING = urllib.error.HTTPError("https://x", 404, "Not Found", None, None)


@pytest.mark.parametrize(
    ("sentence", "address", "machine"),
    [
        ("README.md says how", "ada/faces", dict(place="")),
        ("needs Python 3.11 or later", "ada/faces", dict(version=(3, 10, 12))),
        ("Write the address", NOT_SET, {}),
        ("not resolve.*switch Internet on", "ada/faces", dict(answer=OSError("did not resolve"))),
        ("cannot be read .*404: Not Found", "ada/faces", dict(answer=MISSING)),
    ],
)
def test_the_cell_says_early_why_it_cannot(world, sentence, address, machine):
    machine = world(**machine)
    with pytest.raises(ImportError, match=sentence) as caught:
        machine.run(at(f"{HOST}{address}"))
    assert "\n" not in str(caught.value)
    assert not any("%pip" in line for line in machine.told)


def test_the_cell_says_that_pip_failed(world):
    with pytest.raises(ImportError, match="could not be installed; the lines above say why"):
        world(pip_works=False).run(at(f"{HOST}ada/faces"))


# ------------------------------------------------------------------------ a machine like Colab's


def pip(python, *words, **options):
    command = [python, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Skip where pip finds no packages to install."""
    quick = ["--no-deps", "--retries", 0, "--timeout", 10, "-d", tmp_path_factory.mktemp("probe")]
    run = pip(sys.executable, "download", *quick, "ipython-genutils==0.2.0")
    if run.returncode:
        pytest.skip(f"no package index: {run.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def colab(index, tmp_path_factory):
    """An environment like Colab's, as (its python, the folder that stands for dist-packages)."""
    folder = tmp_path_factory.mktemp("colab")
    there = folder / "dist-packages"
    text = (ROOT / "tests/colab.txt").read_text(encoding="utf-8").partition(JUPYTER)[2]
    (folder / "jupyter.txt").write_text("#" + text, encoding="utf-8")
    pip(sys.executable, "install", "--no-deps", "--target", there, "-r", folder / "jupyter.txt",
        check=True)  # fmt: skip
    lend(there)
    venv.create(folder / "venv", with_pip=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").write_text("from google.colab import output\n")
    (site / "google" / "colab" / "output.py").write_text(OUTPUT)
    (site / "colab.pth").write_text(f"{there}\nimport google.colab\n")
    yield folder / "venv" / "bin" / "python", there
    shutil.rmtree(folder)  # 400 MB


MANAGER = "https://example.org/manager.js"
# Colab's page draws a panel of anywidget only where its output names who manages it; anywidget
# asks for that name as here.
OUTPUT = f"""class _widgets:
    _installed_url = None


def enable_custom_widget_manager():
    _widgets._installed_url = {MANAGER!r}
"""


def lend(there):
    """Link what Colab has, and all that it needs, from our environment; nothing else is seen."""
    own = {
        canonicalize_name(d.name): d for d in importlib.metadata.distributions(path=[str(there)])
    }
    waiting = {name for d in own.values() for name in asked(d)} | on_colab().keys()
    seen = own.keys() | {"notebook"}  # the page that shows widgets
    while waiting := waiting - seen:
        seen |= waiting
        lent = [importlib.metadata.distribution(name) for name in waiting]
        waiting = {name for d in lent for name in asked(d)}
        for distribution in lent:
            for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
                if not (there / top).exists():
                    (there / top).symlink_to(distribution.locate_file(top))
    assert seen & {*lacking(), "mmagan-lite"} == set()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The tracked files as a repository of its own, with the list where GitHub would show it."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("published")
    for name in filter(None, run.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    me = ["-c", "user.name=Me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    (folder / "raw" / "HEAD").mkdir(parents=True)
    shutil.copyfile(ROOT / LACKING, folder / "raw" / "HEAD" / LACKING)
    return folder


def fingerprint(there, name):
    """The version of a package and a hash over the sizes and times of its files."""
    (found,) = importlib.metadata.distributions(path=[str(there)], name=name)
    facts = [(str(file), os.stat(found.locate_file(file))) for file in found.files
             if file.suffix != ".pyc" and ".." not in file.parts]  # fmt: skip
    text = json.dumps(sorted((name, s.st_size, s.st_mtime_ns) for name, s in facts))
    assert len(facts) > 10
    return found.version, hashlib.sha256(text.encode()).hexdigest()


LOOK = """
import importlib.metadata, json, pkgutil, sysconfig
import data_prep, ipywidgets, mmagan_lite, numpy, torch, torchvision
from mmagan_lite import perceptual

for package in (mmagan_lite, data_prep):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
perceptual.lpips_network()
perceptual.inception_network()
installed = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
modules = (ipywidgets, numpy, torch, torchvision, mmagan_lite)
print(json.dumps([[d.name for d in installed], {m.__name__: m.__file__ for m in modules}]))
"""


def imports(path):
    """The import statements of a notebook."""
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    nodes = [node for cell in cells if "setup" not in cell.metadata.get("tags", [])
             for node in ast.parse(cell.source).body]  # fmt: skip
    return "\n".join(ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom))


def run_in(folder, python, notebook):
    """Run a notebook in a folder by the kernel of a python, and give all outputs."""
    spec = folder / "share" / "kernels" / "colab"
    spec.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    text = json.dumps({"argv": argv, "display_name": "", "language": ""})
    (spec / "kernel.json").write_text(text)
    work = folder / "content"
    work.mkdir()
    where = {"metadata": {"path": work}}
    NotebookClient(notebook, kernel_name="colab", resources=where, timeout=240).execute()
    return [o for cell in notebook.cells for o in cell.get("outputs", [])]


@pytest.mark.timeout(600)
def test_the_first_notebook_runs_on_a_machine_like_colab(colab, published, tmp_path, monkeypatch):
    python, there = colab
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    names = ("torch", "torchvision", "numpy", "ipywidgets")
    before = {name: fingerprint(there, name) for name in names}
    assert before["ipywidgets"][0] == on_colab()["ipywidgets"][2:]

    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(ADDRESS, published.as_uri())
    notebook.cells += [new_code_cell(set_up(path) + "\n" + imports(path)) for path in NOTEBOOKS[1:]]
    notebook.cells.append(new_code_cell(LOOK))
    outputs = run_in(tmp_path, python, notebook)

    assert {name: fingerprint(there, name) for name in names} == before
    panels = [o.metadata for o in outputs if WIDGET_VIEW in o.get("data", {})]
    assert panels
    manager = {"colab": {"custom_widget_manager": {"url": MANAGER}}}
    assert [panel.get(WIDGET_VIEW) for panel in panels] == [manager] * len(panels)
    installed, files = json.loads(outputs[-1].text)
    # venv brings setuptools up to Python 3.11.
    new = {canonicalize_name(name) for name in installed} - {"pip", "setuptools"}
    assert new == {*lacking(), "mmagan-lite"}
    assert Path(files.pop("mmagan_lite")).is_relative_to(python.parent.parent)
    assert all(Path(file).is_relative_to(there) for file in files.values())
