"""The exercise room: every check is proven against right answers and against wrong ones."""

import inspect
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from mmagan_lite import losses
from mmagan_lite.exercises import EXERCISES, check, lab
from mmagan_lite.exercises.lab import trained
from mmagan_lite.exercises.matrix import page
from mmagan_lite.exercises.room import GREEN, GREY, RED, Outcome, _flat, exercise

ROOT = Path(__file__).resolve().parent.parent
NAMES = list(EXERCISES)
MISTAKES = [(name, i) for name in NAMES for i in range(len(EXERCISES[name].misconceptions))]


@pytest.fixture(autouse=True)
def _own_parts_only():
    yield
    lab.reset()


@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_is_complete(name):
    made = EXERCISES[name]
    assert len(made.misconceptions) >= 4
    assert made.worked, "a case worked by hand"
    assert made.cases, "held-out cases"
    assert made.oracle is not None or made.properties, "something independent to hold it against"
    beliefs = [m.belief for m in made.misconceptions]
    hints = [m.hint for m in made.misconceptions]
    assert len(set(beliefs)) == len(set(hints)) == len(beliefs)
    assert made.task.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_green_and_agrees_with_hand_and_oracle(name):
    made = EXERCISES[name]
    assert check_of(name)(made.reference).colour == GREEN
    for case, expected in made.worked:
        assert made.outcome(made.reference, case).distance(Outcome(_flat(expected))) <= 1e-4
    if made.oracle is not None:
        for make in made.cases:
            ours = made.outcome(made.reference, make())
            assert ours.distance(Outcome(_flat(made.oracle(*make())))) <= max(made.tolerance, 1e-4)


@pytest.mark.parametrize(("name", "number"), MISTAKES)
def test_each_misconception_is_red_with_its_own_hint(name, number):
    mistake = EXERCISES[name].misconceptions[number]
    verdict = check_of(name)(mistake.code)
    assert (verdict.colour, verdict.misconception) == (RED, number + 1), verdict
    assert mistake.hint in repr(verdict)


def check_of(name):
    return getattr(check, name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_and_a_stub_are_grey(name):
    def stub(*_, **__):
        raise NotImplementedError

    for answer in (None, lambda *_: None, stub):
        assert check_of(name)(answer).colour == GREY


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_raises_is_told_so(name):
    def broken(*_, **__):
        raise LookupError("no such thing")

    verdict = check_of(name)(broken)
    assert verdict.colour == RED
    assert verdict.misconception is None
    assert "It raises LookupError in case 1 of" in repr(verdict)


@pytest.mark.parametrize("name", NAMES)
def test_verdicts_are_the_same_each_time(name):
    mistake = EXERCISES[name].misconceptions[0].code
    assert repr(check_of(name)(mistake)) == repr(check_of(name)(mistake))


# --- the notebooks' own solutions -----------------------------------------------------------------

SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)


def cells(notebook):
    (path,) = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
    return nbformat.read(path, as_version=4).cells


def set_up(notebook):
    """The imports of a notebook, as its solutions find them."""
    scope = {}
    for cell in cells(notebook):
        if cell.cell_type == "code" and "import mmagan_lite as mg" in cell.source:
            exec(cell.source, scope)
            return scope
    raise AssertionError("no cell imports mmagan_lite")


@pytest.mark.parametrize("name", NAMES)
def test_the_notebooks_stub_is_grey_and_its_folded_solution_green(name):
    notebook = cells(EXERCISES[name].notebook)
    defines = re.compile(rf"^(?:def|class) {name}\b", re.MULTILINE)
    (solution,) = (
        found[1]
        for cell in notebook
        if (found := SOLUTION.search(cell.source)) and defines.search(found[1])
    )
    (stub,) = (c.source for c in notebook if c.cell_type == "code" and defines.search(c.source))
    for source, colour in ((solution, GREEN), (stub.partition(f"check.{name}")[0], GREY)):
        scope = set_up(EXERCISES[name].notebook)
        exec(source, scope)
        assert check_of(name)(scope[name]).colour == colour


# --- the lab --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if EXERCISES[n].install])
def test_the_reference_in_the_generator_changes_nothing(name):
    redrawn = lab.use(EXERCISES[name].reference)
    assert "Largest difference from ours: 0.00 of 255 levels." in repr(redrawn)
    assert redrawn._repr_mimebundle_()["image/png"]


@pytest.mark.parametrize("name", [n for n in NAMES if EXERCISES[n].install])
def test_what_is_installed_is_what_runs(name):
    """A part that spoils its result must be seen in the picture."""
    made = EXERCISES[name]
    x, z = torch.rand(1, 3, 64, 64) * 2 - 1, torch.eye(8)[3:4]
    with torch.inference_mode():
        ours = trained()(x, z)
    lab.parts[name] = made.misconceptions[0].code
    with torch.inference_mode():
        theirs = lab.model()(x, z)
    assert not torch.equal(ours, theirs)


def test_a_wrong_part_is_not_put_to_work():
    name = next(n for n in NAMES if EXERCISES[n].install)

    wrong = EXERCISES[name].misconceptions[0].code
    wrong.__name__, before = name, wrong.__name__
    try:
        assert lab.use(wrong).colour == RED
    finally:
        wrong.__name__ = before
    assert lab.parts == {}


def test_an_unknown_part_gets_one_sentence():
    with pytest.raises(ValueError, match=r"lab\.use takes an answer called one of "):
        lab.use(lambda x: x)


@pytest.mark.parametrize("name", [n for n in NAMES if EXERCISES[n].slot])
def test_a_loss_takes_its_place_until_reset(name):
    made = EXERCISES[name]
    ours = getattr(losses, made.slot)
    assert "Largest difference from ours: 0.000000." in repr(lab.use(made.reference))
    assert getattr(losses, made.slot) is made.reference
    lab.reset()
    assert getattr(losses, made.slot) is ours


# --- the judge itself -----------------------------------------------------------------------------


@pytest.fixture
def double():
    @exercise("99", "Double it.")
    def double(x):
        return 2 * x

    del EXERCISES["double"]
    double.cases.append(lambda: (torch.tensor([1.0, 2.0]),))
    double.misconception("squares", "what is twice three?")(lambda x: x * x)
    return double


def test_a_shape_a_value_and_an_unknown_mistake_are_told_apart(double):
    assert "The shape should be (2,) in case 1 of 1; it is (2, 1)." in repr(
        double.check(lambda x: 2 * x[:, None])
    )
    assert "the values differ by up to 8" in repr(double.check(lambda x: 6 * x))
    assert double.check(lambda x: x * x + 0.001).misconception == 1
    assert double.check(lambda x: 2 * x + 1e-7).colour == GREEN
    assert double.check(lambda x: 2 * x * torch.nan).colour == RED
    assert "a number" not in repr(double.check(lambda x: "four"))


def test_a_shape_or_an_error_alone_is_no_known_mistake(double):
    double.misconception("adds up", "how many numbers go in?")(lambda x: 2 * x.sum())
    double.misconception("divides", "is half double?")(lambda x: 1 / 0)
    assert double.check(lambda x: 2 * x.sum()).misconception == 2
    assert double.check(lambda x: x.sum() + 40).misconception is None
    assert double.check(lambda x: 1 / 0).misconception == 3
    assert double.check(lambda x: 1 % 0).misconception is None


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.array])
def test_numbers_count_whatever_holds_them(kind):
    assert check.split_by_person(lambda s, t: kind([p in t for p in s])).colour == GREEN
    assert check.level(lambda *a: kind(list(EXERCISES["level"].reference(*a)))).colour == GREEN


def test_an_answer_cannot_change_the_case_or_the_random_numbers(double):
    def spoils(x):
        torch.manual_seed(5)
        return x.mul_(2)

    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    verdict = double.check(spoils)
    assert torch.equal(torch.rand(1), expected)
    assert (verdict.colour, verdict.misconception) == (RED, None)
    assert "it changes its input" in str(verdict)
    assert double.check(lambda x: x + x).colour == GREEN


def test_a_forgotten_return_is_no_stub(double):
    def forgets(x):
        y = 2 * x
        print("y:", y.sum())

    def stub(x):
        """What it should do."""

    assert "is `return` missing?" in str(double.check(forgets))
    assert double.check(forgets).colour == RED
    assert double.check(stub).colour == GREY


def test_pytorchs_own_not_implemented_is_an_error(double):
    verdict = double.check(lambda x: torch.nn.ModuleList()(x))
    assert verdict.colour == RED
    assert "NotImplementedError" in str(verdict)


def test_text_for_numbers_gets_a_sentence():
    said = str(check.split_by_person(lambda subjects, test: [s for s in subjects if s in test]))
    assert "numbers, or True and False, are wanted; it returns a str" in said


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("level", lambda *_: (1.0, 2.0)),
        ("level", lambda *_: (0.0, 0.0)),
        ("log_probabilities", lambda logits: torch.zeros_like(logits)),
        ("kernel_distance", lambda x, y: torch.zeros(())),
    ],
)
def test_a_constant_is_not_taken_for_a_known_mistake(name, answer):
    assert check_of(name)(answer).misconception is None


def test_a_broken_property_is_named(double):
    double.holds("the double of nothing is nothing")(lambda answer: answer(torch.zeros(1)) == 0)

    def right_on_cases_only(x):
        return 2 * x if x.sum() else x + 1

    assert "the double of nothing is nothing" in repr(double.check(right_on_cases_only))


# --- the page -------------------------------------------------------------------------------------


def test_the_page_of_the_kill_matrix_is_up_to_date():
    assert (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8") == page(), (
        "run python -m mmagan_lite.exercises.matrix"
    )


def test_every_exercise_stands_in_its_notebook_once():
    for name, made in EXERCISES.items():
        calls = sum(
            cell.source.count(f"check.{name}(")
            for cell in cells(made.notebook)
            if cell.cell_type == "code"
        )
        assert calls == 1, name


def test_answers_are_plain_functions_or_classes():
    for made in EXERCISES.values():
        assert inspect.isfunction(made.reference) or inspect.isclass(made.reference)
