"""Run notebooks and save their outputs, so that two runs on one machine give the same file.

`make notebooks` is the way to call it: that also fixes the profile, the threads and the seeds
of hashing.
"""

import argparse
import hashlib
import os
from pathlib import Path

import nbclient
import nbformat

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT_CELL_METADATA = {"tags", "jupyter", "ran"}


def main() -> None:
    """Run the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    for path in parser.parse_args().notebooks:
        print(path, flush=True)
        refresh(path)


def refresh(path: Path) -> None:
    """Run one notebook from top to bottom and replace it by itself with fresh outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails; the file then stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
        timeout=None,
        store_widget_state=False,
        coalesce_streams=True,
    ).execute()
    clean(notebook)
    nbformat.validate(notebook)
    fresh = path.with_suffix(".tmp")
    nbformat.write(notebook, fresh)
    os.replace(fresh, path)


def digest(source: str) -> str:
    """What tells the source that a cell's outputs are of from one that was edited later."""
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def clean(notebook: nbformat.NotebookNode) -> None:
    """Remove what differs between machines and runs: timings, versions, widget identities.

    Each cell keeps a digest of the source that was run, for a test to compare; not the set-up cell,
    whose address may change without it.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for key in cell.metadata.keys() - KEPT_CELL_METADATA:
            del cell.metadata[key]
        cell.metadata.pop("ran", None)
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            cell.metadata["ran"] = digest(cell.source)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)  # its picture and text stay


if __name__ == "__main__":
    main()
