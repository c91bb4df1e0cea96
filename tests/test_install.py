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

EDIT = """
from pathlib import Path
import sys
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
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "--wheel-dir", folder, folder / "source"], check=True)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [*pip, "--python", python, "install", *offline, *folder.glob("*.whl")], check=True
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


def test_the_wheel_edits_a_face_offline_with_the_weights_inside(bare, tmp_path):
    done = run(bare, "-c", EDIT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = (Image.open(tmp_path / f"{name}.png") for name in ("before", "after"))
    assert before.size == after.size == (128, 128)
    assert before.tobytes() != after.tobytes()


def test_the_command_line_works_from_the_wheel(bare, tmp_path):
    run(bare, "-c", EDIT, cwd=tmp_path)
    arguments = ["edit", "before.png", "surprise", "--out", "again.png"]
    done = run(bare, "-m", "mmagan_lite", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        Image.open(tmp_path / "again.png").tobytes() == Image.open(tmp_path / "after.png").tobytes()
    )


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(line for extra in extras for line in extra)]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_requirements_can_be_met_on_each_python(version, tmp_path):
    """Resolved from metadata alone: nothing is downloaded but lists of requirements."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    asked = ["--dry-run", "--ignore-installed", "--target", tmp_path, "--only-binary", ":all:"]
    done = subprocess.run(
        [*pip, "install", "-q", *asked, "--python-version", version, "-c", ROOT / "constraints.txt",
         *requirements()],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    if "No matching distribution found for torch" in done.stderr or "Retrying" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
