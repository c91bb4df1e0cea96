"""Copy the notebooks without their solutions: ``python notebooks/handout.py FOLDER``.

Hints stay, and marking does not need the solutions.
"""

import argparse
import re
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
SOLUTION = re.compile(r"\n*<details>\s*<summary>Solution</summary>.*?</details>", re.DOTALL)


def hand_out(folder: Path) -> int:
    """Write the notebooks into a folder; returns how many solutions were left out.

    Raises
    ------
    ValueError
        If the folder is that of the notebooks, whose solutions would be lost.
    """
    if folder.resolve() == HERE.resolve():
        raise ValueError(f"{folder} holds the notebooks themselves; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source, found = SOLUTION.subn("", cell.source)
                count += found
        nbformat.write(notebook, folder / path.name)
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    try:
        print(f"Wrote the notebooks to {args.folder} without {hand_out(args.folder)} solutions.")
    except (ValueError, OSError) as error:
        parser.error(str(error))
