"""Draw the pictures of the README again: ``python docs/pictures.py``."""

from pathlib import Path

import torch

import mmagan_lite as mg
from mmagan_lite import editing, evaluation, plots
from mmagan_lite.widgets import pictures

HERE = Path(__file__).parent
FIRST = 1_000_100  # people that no shipped network was trained on
PEOPLE = 4


def faces() -> None:
    """Drawn people and their exact expressions."""
    rows = []
    for person in range(FIRST, FIRST + PEOPLE):
        who = torch.full((len(mg.EXPRESSIONS),), person)
        rows.append(editing.to_pil(2 * mg.faces.render(who, mg.EXPRESSIONS) - 1))
    plots.grid(rows, column_labels=mg.EXPRESSIONS).savefig(HERE / "faces.png", dpi=110)


def edits() -> None:
    """The same people, neutral, and what the best generator in the package makes of them."""
    model = mg.load_pretrained("mmagan-128")
    size = editing.image_size(model)
    rows = []
    for person in range(FIRST, FIRST + PEOPLE):
        x = 2 * mg.faces.render(person, "neutral", size=size) - 1  # (1, 3, 128, 128)
        z = mg.encode(mg.EXPRESSIONS[1:])  # (7, 8)
        y = evaluation.edited(model, x.expand(len(z), -1, -1, -1), z)
        rows.append(editing.to_pil(torch.cat([x, y])))
    labels = ("input", *mg.EXPRESSIONS[1:])
    plots.grid(rows, column_labels=labels).savefig(HERE / "edits.png", dpi=110)


def animation() -> None:
    """The same people, going from neutral through all expressions and back each time."""
    model = mg.load_pretrained("mmagan-128")
    strengths = [k / 6 for k in (*range(7), 6, 6, 6, *reversed(range(1, 6)))]
    people = torch.arange(FIRST, FIRST + PEOPLE)
    x = 2 * mg.faces.render(people, "neutral", size=editing.image_size(model)) - 1
    frames = []
    for name in mg.EXPRESSIONS[1:]:
        for rho in strengths:
            y = evaluation.edited(model, x, mg.encode([name] * PEOPLE, rho))  # (4, 3, 128, 128)
            portraits = [image.resize((200, 200)) for image in editing.to_pil(y)]
            row = pictures.row([(f"{name}, ρ = {rho:.1f}", i) for i in portraits], 200)
            frames.append(pictures.stack([row]))
    frames[0].save(
        HERE / "edits.webp", save_all=True, append_images=frames[1:], duration=90, loop=0,
        quality=80, method=6,
    )  # fmt: skip


if __name__ == "__main__":
    faces()
    edits()
    animation()
