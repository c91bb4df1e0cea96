"""The text cannot lie: numbers and equations in the prose are evaluated against the package.

Two tags, invisible to readers, stand in the text of notebooks and documents:

- ``10<!--= Config.profile("paper").lambda_rec -->`` : the expression gives what stands before it;
- ``<!--check losses.reconstruction(x, y) == (x - y).abs().mean() -->`` : it is true.
"""

import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
from torch.nn import functional as F

import mmagan_lite as mg
from mmagan_lite import attention, config, discriminator, expressions, generator, losses
from mmagan_lite.exercises import EXERCISES

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "docs").glob("*.md")),
         ROOT / "README.md", ROOT / "CONTRIBUTING.md"]  # fmt: skip

VALUE = re.compile(r"(\([^()]*\)|[^\s|(]+)<!--=\s*(.*?)\s*-->")
CHECK = re.compile(r"<!--check\s+(.*?)\s*-->", re.DOTALL)
MISSPELT = re.compile(r"<!--\s+(?:=|check\b)")
LEAST = {
    **{f"{number:02}": 8 for number in range(2, 9)}, "README": 12, "paper": 23, "data_card": 5,
    "architecture": 2, "model_card": 1, "training": 8,
}  # fmt: skip
"""How many tags a text has: raise it where you add some."""


def scope():
    """What the expressions may use: the package, and random tensors with the paper's names."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    def weights(module):
        return sum(parameter.numel() for parameter in module.parameters())

    return {
        "mg": mg, "torch": torch, "F": F, "math": math, "losses": losses, "attention": attention,
        "generator": generator, "discriminator": discriminator, "config": config,
        "expressions": expressions, "EXERCISES": EXERCISES, "Config": mg.Config, "weights": weights,
        "close": torch.allclose,
        "x": draw(4, 3, 16, 16), "y": draw(4, 3, 16, 16), "real": draw(4, 1, 8, 8),
        "fake": draw(4, 1, 8, 8), "logits": draw(4, 8), "cor": draw(4, 8),
        "z": mg.encode([1, 2, 3, 4], torch.tensor([0.3, 0.5, 0.8, 1.0])),
        "c": torch.tensor([1, 2, 3, 4]), "rho": torch.tensor([0.3, 0.5, 0.8, 1.0]),
        "rho_hat": torch.rand(4, generator=random), "features": draw(2, 16, 8, 8),
    }  # fmt: skip


def prose(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def shown(value):
    """How a value is written in the text, without the thin ornaments of typography."""
    if isinstance(value, torch.Tensor):
        value = value.item() if value.dim() == 0 else tuple(value.shape)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def faults(text):
    """Every tag that is wrong, one sentence each."""
    for written, expression in VALUE.findall(text):
        plain = written.strip("*_`.,;:$").replace(r"\,", "").replace("−", "-")
        if re.fullmatch(r"-?[\d,]+(\.\d+)?", plain):
            plain = plain.replace(",", "")
        value = shown(eval(expression, scope()))
        if plain != value:
            yield f"the text says {written}, but {expression} is {value}"
    for expression in CHECK.findall(text):
        if not bool(eval(expression, scope())):
            yield f"it is not true that {expression}"
    if text.count("<!--=") != len(VALUE.findall(text)):
        yield "a tag has nothing before it"
    if MISSPELT.search(text):
        yield "a tag is misspelt, so that nobody reads it"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_numbers_and_equations_in_the_text_are_those_of_the_package(path):
    assert list(faults(prose(path))) == []


@pytest.mark.parametrize("name", LEAST)
def test_texts_with_numbers_and_equations_carry_tags(name):
    (path,) = (path for path in TEXTS if path.stem == name or path.stem[:2] == name)
    text = prose(path)
    assert len(VALUE.findall(text)) + len(CHECK.findall(text)) >= LEAST[name]


def test_a_lie_is_found():
    assert list(faults("10<!--= 5 + 5 --> and **1,407**<!--= 1400 + 7 -->.")) == []
    assert list(faults("(B, 8)<!--= '(B, 8)' -->")) == []
    assert len(list(faults("10<!--= 5 + 6 -->"))) == 1
    assert len(list(faults("<!--check 1 == 2 -->"))) == 1
    assert len(list(faults("\n<!--= 3 -->"))) == 1
    assert len(list(faults("10<!-- = 5 + 6 -->"))) == 1
    assert len(list(faults("<!-- check 1 == 2 -->"))) == 1
