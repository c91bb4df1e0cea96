"""Write the repository's address wherever it stands, for a fork or a move.

    python notebooks/set_repository.py OWNER/NAME

`Repository` in pyproject.toml is the address; badges, set-up cells and README repeat it, and
tests/test_set_repository.py finds a place that disagrees.
"""

import argparse
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "https://github.com/"
NOT_SET = "OWNER/NAME"  # until somebody sets one
A_NAME = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}/[\w.-]{0,99}[\w-]", re.ASCII)


def main() -> None:
    """Set the address that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="OWNER/NAME", help="as in https://github.com/OWNER/NAME")
    try:
        changed = set_repository(parser.parse_args().name)
    except ValueError as error:
        sys.exit(str(error))
    print("\n".join(map(str, changed)) or "Nothing to change.")


def repository(root: Path = ROOT) -> str:
    """Read OWNER/NAME from pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix(HOST)


def places(root: Path = ROOT) -> list[Path]:
    """List the files in which the address may stand, pyproject.toml last."""
    patterns = ("*.md", "docs/*.md", "notebooks/*.ipynb", "pyproject.toml")
    return [path for pattern in patterns for path in sorted(root.glob(pattern))]


def set_repository(name: str, root: Path = ROOT) -> list[Path]:
    """Replace the address everywhere, and not one byte more.

    Returns
    -------
    list of Path
        The files that changed.

    Raises
    ------
    ValueError
        If `name` is not the name of a repository on GitHub; nothing is changed then.
    """
    if not A_NAME.fullmatch(name) or name.endswith(".git"):
        raise ValueError(
            f"{name!r} is not OWNER/NAME; give the two names at the end of the repository's "
            f"address, such as ada/faces for {HOST}ada/faces."
        )
    old = "|".join(re.escape(known) for known in {repository(root), NOT_SET})
    address = re.compile(rf"(github(?:\.com)?/)(?:{old})(?![\w-]|\.\w)".encode())
    before = {path: path.read_bytes() for path in places(root)}
    after = {path: address.sub(rb"\1" + name.encode(), text) for path, text in before.items()}
    changed = [path for path in before if after[path] != before[path]]
    replace({path: after[path] for path in changed})
    return changed


def replace(contents: dict[Path, bytes]) -> None:
    """Write all files beside the old ones before the first takes its place.

    pyproject.toml comes last: what was cut off is finished by the same command.
    """
    fresh = {path: path.with_suffix(".tmp") for path in contents}
    try:
        for path, content in contents.items():
            fresh[path].write_bytes(content)
            shutil.copymode(path, fresh[path])
        for path in contents:
            os.replace(fresh[path], path)
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
