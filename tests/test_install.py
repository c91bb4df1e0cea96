"""What newcomers install: a wheel that works by itself, and requirements that can be met."""

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SITE = Path(next(path for path in sys.path if path.endswith("site-packages")))

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]

EDIT = """
import sys
from pathlib import Path
import mmagan_lite as mg
from mmagan_lite import editing
assert Path(mg.__file__).is_relative_to(sys.prefix), mg.__file__
face = editing.to_pil(2 * mg.faces.render(1_000_007, "neutral", 0, size=128) - 1)[0]
face.save("before.png")
mg.edit("before.png", "surprise", 1.0).save("after.png")
"""


def tracked():
    """The files of a clean checkout, with what is not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An environment with the wheel of a clean checkout and the packages that it requires."""
    folder = tmp_path_factory.mktemp("bare")
    for name in tracked():
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*PIP, "wheel", *offline, "--wheel-dir", folder, folder / "source"], check=True)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [*PIP, "--python", python, "install", *offline, *folder.glob("*.whl")], check=True
    )
    # Packages are lent, not installed again: they are 5 GB. Ours is a .pth file there, which
    # only counts in a folder that Python itself calls site-packages.
    for lent in SITE.iterdir():
        ours = lent.name.lower().startswith(("mmagan", "__editable__", "data_prep", "pip"))
        if lent.suffix != ".pth" and not ours:
            (python.parent.parent / SITE.relative_to(sys.prefix) / lent.name).symlink_to(lent)
    return python


def run(python, *arguments, cwd):
    """A process without a network: whatever asks for one finds a closed door."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"),
                            "http://127.0.0.1:9")  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | nowhere
    return subprocess.run(
        [python, "-I", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def edited(bare, tmp_path_factory):
    """A folder with a face before and after it was edited by the wheel."""
    folder = tmp_path_factory.mktemp("edited")
    done = run(bare, "-c", EDIT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_edits_a_face_offline_with_the_weights_inside(edited):
    before, after = (Image.open(edited / f"{name}.png") for name in ("before", "after"))
    assert before.size == after.size == (128, 128)
    assert before.tobytes() != after.tobytes()


def test_the_command_line_works_from_the_wheel(bare, edited):
    arguments = ["edit", "before.png", "surprise", "--out", "again.png"]
    done = run(bare, "-m", "mmagan_lite", *arguments, cwd=edited)
    assert done.returncode == 0, done.stderr
    again, after = (Image.open(edited / f"{name}.png") for name in ("again", "after"))
    assert again.tobytes() == after.tobytes()


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(line for extra in extras for line in extra)]


def resolved(asked, *options):
    """What uv finds for requirements, from metadata alone: no package is downloaded."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--only-binary", ":all:"]
    return subprocess.run(
        [*command, *options, "-"], input="\n".join(asked), capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def index():
    """The package index, which the tests of the requirements cannot do without."""
    if resolved(["pip"], "--no-cache").returncode:
        pytest.skip("no package index can be reached")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_requirements_can_be_met_on_each_python(index, version):
    done = resolved(requirements(), "--python-version", version, "-c", ROOT / "constraints.txt")
    assert done.returncode == 0, done.stderr
    assert {"torch", "hypothesis", "uv"} <= {
        line.partition("==")[0] for line in done.stdout.split()
    }


def test_requirements_that_cannot_be_met_are_noticed(index):
    done = resolved([*requirements(), "numpy<1.20"], "--python-version", "3.12")
    assert done.returncode == 1
    assert "numpy" in done.stderr
