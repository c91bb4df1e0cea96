"""The exercises of notebook 01: solution right, stub calm, known mistakes named."""

import math
import re
from pathlib import Path

import nbformat
import pytest
import torch

from mmagan_lite import faces

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "01_data_preparation.ipynb"
CELLS = nbformat.read(NOTEBOOK, as_version=4).cells

EXERCISES = ("changed", "level", "split_by_person")

MISTAKES = {
    "changed": {
        "one answer a pixel": lambda face, neutral: face != neutral,
        "a bool": lambda face, neutral: (face != neutral).any(1).float(),
        "by one level": lambda face, neutral: ((face - neutral).abs() > 0.02).any(1),
        "of blue": lambda face, neutral: (face != neutral).all(1),
        "floats are not exact": lambda face, neutral: ((face - neutral).abs() >= 1 / 255).any(1),
        "return a tensor": lambda face, neutral: bool((face != neutral).any()),
        "darker counts": lambda face, neutral: (face > neutral).any(1),
    },
    "level": {
        "upside down": lambda a, b, size: (math.dist(a, b) / (0.275 * size), -53.1301),
        "the scale should be": lambda a, b, size: (size / math.dist(a, b), -53.1301),
        "in degrees": lambda a, b, size: (0.275 * size / math.dist(a, b), math.atan2(-4, 3)),
        "the other sign": lambda a, b, size: (0.275 * size / math.dist(a, b), 53.1301),
        "expected -53.13°": lambda a, b, size: (
            0.275 * size / math.dist(a, b),
            -math.degrees(math.atan2(b[0] - a[0], b[1] - a[1])),
        ),
        "two numbers": lambda a, b, size: (0.704,),
        "the size counts": lambda a, b, size: (
            35.2 / math.dist(a, b),
            -math.degrees(math.atan2(b[1] - a[1], b[0] - a[0])),
        ),
        "use atan2": lambda a, b, size: (
            0.275 * size / math.dist(a, b),
            -math.degrees(math.atan((b[1] - a[1]) / (b[0] - a[0]))),
        ),
    },
    "split_by_person": {
        "one answer a picture": lambda subjects, test: [s in test for s in set(subjects)],
        "for training": lambda subjects, test: [s not in test for s in subjects],
        "not only the first": lambda subjects, test: [
            s in test and subjects.index(s) == i for i, s in enumerate(subjects)
        ],
        "are 0, 2 and 5": lambda subjects, test: [i < 3 for i in range(len(subjects))],
        "nothing for testing": lambda subjects, test: [s == "ada" for s in subjects],
    },
}


def check_cell(name):
    """The cell that calls the learner's function and judges it."""
    (cell,) = (cell.source for cell in CELLS if f'print("{name}: right")' in cell.source)
    return cell


def judge(name, function):
    """What the check cell prints for a function, or the sentence that it raises."""
    said = []
    people = torch.arange(1_000_010, 1_000_018)
    scope = {
        "math": math, "torch": torch, "faces": faces, "people": people,
        "neutral": faces.render(people, "neutral", 0.0), "print": said.append, name: function,
    }  # fmt: skip
    try:
        exec(check_cell(name), scope)
    except AssertionError as error:
        said.append(str(error))
    return said[-1]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_folded_solution_is_right_and_the_stub_calm(name):
    (solution,) = (
        found[1]
        for cell in CELLS
        if (found := re.search(rf"```python\n(def {name}\(.*?)```", cell.source, re.DOTALL))
    )
    (stub,) = (cell.source for cell in CELLS if cell.source.startswith(f"def {name}("))
    for source, verdict in ((solution, "right"), (stub, "not attempted yet")):
        scope = {"math": math}
        exec(source, scope)
        assert verdict in judge(name, scope[name])


@pytest.mark.parametrize(
    ("name", "sentence"), [(name, sentence) for name in MISTAKES for sentence in MISTAKES[name]]
)
def test_each_mistake_is_named(name, sentence):
    assert sentence in judge(name, MISTAKES[name][sentence])
