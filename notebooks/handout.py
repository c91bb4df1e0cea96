"""Copy the notebooks without their solutions: ``python notebooks/handout.py FOLDER``.

Hints stay, and marking does not need the solutions. Links to other pages of the course lead to its
repository.
"""

import argparse
import re
from pathlib import Path

import nbformat
from set_repository import HOST, repository

from mmagan_lite.data import write_atomically

HERE = Path(__file__).parent
THERE = f"{HOST}{repository()}"
PICTURE = re.compile(r"(!\[[^\]]*\])\(\.\./")
SOLUTION = re.compile(r"\n*<details>\s*<summary>Solution</summary>.*?</details>", re.DOTALL)


def hand_out(folder: Path) -> int:
    """Write the notebooks into a folder; returns how many solutions were left out.

    Raises
    ------
    ValueError
        If there are notebooks in the folder already, with solutions or somebody's work in them.
    OSError
        If they cannot be written.
    """
    if any(folder.glob("*.ipynb")):
        raise ValueError(f"{folder} already holds notebooks; choose another folder.")
    count = 0
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source, found = SOLUTION.subn("", cell.source)
                cell.source = PICTURE.sub(rf"\1({THERE}/raw/HEAD/", cell.source)
                cell.source = cell.source.replace("](../", f"]({THERE}/blob/HEAD/")
                count += found
        with write_atomically(folder / path.name) as file:
            file.write(f"{nbformat.writes(notebook)}\n".encode())
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    try:
        print(f"Wrote the notebooks to {args.folder} without {hand_out(args.folder)} solutions.")
    except (ValueError, OSError) as error:
        parser.error(str(error))
