"""What an exercise is, and how an answer to it is judged."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import torch
from torch import Tensor, nn

EXERCISES: dict[str, "Exercise"] = {}
"""All exercises by name."""

GREY, RED, GREEN = "grey", "red", "green"
SIGNS = {GREY: "○", RED: "✗", GREEN: "✓"}


@dataclass(frozen=True)
class Verdict:
    """What `check` says of an answer.

    Parameters
    ----------
    name : str
        The exercise.
    colour : {"grey", "red", "green"}
        Not attempted, wrong, right.
    text : str
        Why, and what to think about.
    misconception : int or None
        The number of the known mistake that the answer makes, from 1.
    """

    name: str
    colour: str
    text: str
    misconception: int | None = None

    def __repr__(self) -> str:
        """What a notebook shows."""
        return f"{SIGNS[self.colour]} {self.name}: {self.text}"


@dataclass(frozen=True)
class Misconception:
    """A wrong answer that people give, and what to tell them.

    Parameters
    ----------
    belief : str
        What they do, in a few words: "pools over the batch".
    hint : str
        What to think about; does not give the answer away.
    code : callable
        The wrong answer itself.
    """

    belief: str
    hint: str
    code: Callable


@dataclass(frozen=True)
class Outcome:
    """What an answer gives for one case: numbers, or the kind of error that it raises."""

    values: tuple[Tensor, ...] = ()
    error: Exception | None = None
    altered: bool = False  # whether the arguments are no longer what they were

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the values."""
        return [tuple(value.shape) for value in self.values]

    @property
    def largest(self) -> float:
        """The largest of the values, whatever its sign."""
        sizes = (v.abs().nan_to_num(0).max().item() for v in self.values if v.numel())
        return max(sizes, default=0.0)

    def distance(self, other: "Outcome") -> float:
        """Largest difference of two outcomes; infinite if they are of another kind."""
        if self.error is not None or other.error is not None:
            return 0.0 if repr(self.error) == repr(other.error) else torch.inf
        if self.shapes != other.shapes:
            return torch.inf
        pairs = zip(self.values, other.values, strict=True)
        gaps = [(a - b).abs().nan_to_num(torch.inf).max().item() for a, b in pairs if a.numel()]
        return max(gaps, default=0.0)


@dataclass
class Exercise:
    """An exercise: the right answer, what it is judged by, and the known wrong ones.

    Build one with `exercise`, then add to it by its decorators. Cases are held out: they are
    others than the worked ones, which the notebook shows.

    Attributes
    ----------
    name, notebook, task : str
        The name of the answer, the number of the notebook, and what to write, in one sentence.
    reference : callable
        The right answer, a function or a class.
    run : callable
        ``run(answer, *case)`` applies an answer to a case. Default: calls it.
    worked : list of (case, expected)
        Cases worked by hand in the text.
    cases : list of callables
        Each gives the arguments of a held-out case, the same at every call.
    oracle : callable or None
        Another way to the right answer, independent of the reference: ``oracle(*case)``.
    properties : list of (sentence, callable)
        What every right answer fulfils: ``holds(answer)`` is a bool.
    misconceptions : list of Misconception
    install : callable or None
        ``install(model, answer)`` puts the answer into a trained `Generator`, in place.
    slot : str or None
        The function of `mmagan_lite.losses` whose place the answer takes.
    tolerance : float
        Largest difference that counts as equal.
    """

    name: str
    notebook: str
    task: str
    reference: Callable
    run: Callable = lambda answer, *case: answer(*case)
    worked: list[tuple[tuple, Any]] = field(default_factory=list)
    cases: list[Callable[[], tuple]] = field(default_factory=list)
    oracle: Callable | None = None
    properties: list[tuple[str, Callable[[Callable], bool]]] = field(default_factory=list)
    misconceptions: list[Misconception] = field(default_factory=list)
    install: Callable[[nn.Module, Callable], None] | None = None
    slot: str | None = None
    tolerance: float = 1e-5

    # ------------------------------------------------------------------ decorators that add parts

    def case(self, make: Callable[[], tuple]) -> Callable:
        """Add a held-out case."""
        self.cases.append(make)
        return make

    def use_oracle(self, function: Callable) -> Callable:
        """Set the independent way to the right answer."""
        self.oracle = function
        return function

    def runs(self, function: Callable) -> Callable:
        """Set how an answer is applied to a case."""
        self.run = function
        return function

    def holds(self, sentence: str) -> Callable:
        """Add a property; the sentence says what holds."""

        def add(function: Callable) -> Callable:
            self.properties.append((sentence, function))
            return function

        return add

    def misconception(self, belief: str, hint: str) -> Callable:
        """Add a wrong answer with its hint."""

        def add(code: Callable) -> Callable:
            self.misconceptions.append(Misconception(belief, hint, code))
            return code

        return add

    def installs(self, function: Callable) -> Callable:
        """Set how an answer is put into a trained generator."""
        self.install = function
        return function

    # ------------------------------------------------------------------------------- judgement

    def outcome(self, answer: Callable, case: tuple) -> Outcome:
        """What an answer gives for a case; the case is left as it was."""
        arguments = [a.clone() if isinstance(a, Tensor) else a for a in case]
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                values = _flat(self.run(answer, *arguments))
            return Outcome(values, altered=not all(map(_same, arguments, case)))
        except Exception as error:  # an answer may do anything
            return Outcome(error=error)

    def difference(self, answer: Callable) -> float:
        """Largest difference between what an answer and the reference give for the cases."""
        cases = [make() for make in self.cases]
        ours = [self.outcome(self.reference, case) for case in cases]
        return _farthest([self.outcome(answer, case) for case in cases], ours)

    def check(self, answer: Callable) -> Verdict:
        """Judge an answer: grey if there is none, green if it is right, else red with a hint."""
        cases = [make() for make in self.cases]
        found = [self.outcome(answer, case) for case in cases]
        if answer is None or all(_is_missing(outcome) for outcome in found):
            if _does_something(answer):
                return Verdict(self.name, RED, "not yet. It returns nothing: is `return` missing?")
            return Verdict(self.name, GREY, "not attempted yet; the course goes on without it.")
        wanted = [self.outcome(self.reference, case) for case in cases]
        wrong = _farthest(found, wanted)
        broken = self._broken_property(answer) if wrong <= self.tolerance else None
        if wrong <= self.tolerance and any(outcome.altered for outcome in found):
            text = (
                "not yet. The values are right, but it changes its input, which others still need."
            )
            return Verdict(self.name, RED, text)
        if wrong <= self.tolerance and broken is None:
            return Verdict(self.name, GREEN, f"right, in {_counted(len(cases), 'held-out case')}.")
        return self._explain(answer, cases, found, wanted, broken)

    def _broken_property(self, answer: Callable) -> str | None:
        for sentence, holds in self.properties:
            try:
                kept = holds(answer)
            except Exception:
                kept = False
            if not kept:
                return sentence
        return None

    def _explain(
        self,
        answer: Callable,
        cases: Sequence[tuple],
        found: Sequence[Outcome],
        wanted: Sequence[Outcome],
        broken: str | None,
    ) -> Verdict:
        """The nearest known mistake, or where the answer differs."""
        gaps = []
        for mistake in self.misconceptions:
            theirs = [self.outcome(mistake.code, case) for case in cases]
            gaps.append(_farthest(found, theirs))
        nearest = min(range(len(gaps)), key=gaps.__getitem__, default=None)
        away = _farthest(found, wanted)  # infinite where shapes differ: then only an exact match
        limit = self.tolerance
        if nearest is not None and not math.isinf(away):  # nor may zeros pass for small values
            code = self.misconceptions[nearest].code
            largest = max(self.outcome(code, case).largest for case in cases)
            limit = max(limit, 0.1 * min(away, largest))
        near = nearest is not None and gaps[nearest] <= limit
        if near and broken is None:
            mistake = self.misconceptions[nearest]
            text = (
                f"not yet. Known mistake {nearest + 1} of {len(gaps)}: it {mistake.belief}. "
                f"Hint: {mistake.hint}"
            )
            return Verdict(self.name, RED, text, nearest + 1)
        if broken is not None:
            return self._explain_property(answer, broken)
        return Verdict(self.name, RED, "not yet. " + _difference(found, wanted, self.tolerance))

    def _explain_property(self, answer: Callable, broken: str) -> Verdict:
        """A property that fails where all values are right: the mistake that breaks the same."""
        for number, mistake in enumerate(self.misconceptions, 1):
            cases = [make() for make in self.cases]
            theirs = [self.outcome(mistake.code, case) for case in cases]
            right = [self.outcome(self.reference, case) for case in cases]
            same = _farthest(theirs, right) <= self.tolerance
            if same and self._broken_property(mistake.code) == broken:
                text = (
                    f"not yet. Known mistake {number} of {len(self.misconceptions)}: it "
                    f"{mistake.belief}. Hint: {mistake.hint}"
                )
                return Verdict(self.name, RED, text, number)
        return Verdict(
            self.name, RED, f"not yet. The values are right, but it should hold: {broken}."
        )


def exercise(
    notebook: str, task: str, *, tolerance: float = 1e-5, slot: str | None = None
) -> Callable:
    """Turn the right answer into an exercise of its name and enter it into `EXERCISES`."""

    def enter(reference: Callable) -> Exercise:
        name = reference.__name__
        made = Exercise(name, notebook, task, reference, tolerance=tolerance, slot=slot)
        EXERCISES[name] = made
        return made

    return enter


def with_weights_of(trained: nn.Module, module: nn.Module) -> nn.Module:
    """A learner's module with the weights of ours, by their names.

    Raises
    ------
    ValueError
        If its parameters have other names or shapes.
    """
    ours = {name: tuple(p.shape) for name, p in trained.state_dict().items()}
    theirs = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    if ours != theirs:
        wanted = ", ".join(f"{name} {shape}" for name, shape in ours.items())
        raise ValueError(f"its parameters should be called and shaped {wanted}; got {theirs}.")
    module.load_state_dict(trained.state_dict())
    return module


def _flat(value: Any) -> tuple[Tensor, ...]:
    """Whatever an answer returns as float64 tensors; None as nothing."""
    if value is None or value is ...:
        return ()
    if isinstance(value, Tensor):
        return (value.detach().to(torch.float64),)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        if value and all(_is_number(item) for item in value):  # as a tensor or array would be
            return (torch.tensor([float(item) for item in value], dtype=torch.float64),)
        return tuple(part for item in value for part in _flat(item))
    try:
        return (torch.as_tensor(value, dtype=torch.float64),)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"numbers, or True and False, are wanted; it returns a {type(value).__name__}"
        ) from None


def _is_number(item: Any) -> bool:
    """Whether an item is one number, plain or of PyTorch or NumPy."""
    return isinstance(item, Number) or getattr(item, "shape", None) == ()


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments are equal; anything but tensors passes."""
    if not isinstance(one, Tensor):
        return True
    return one.shape == other.shape and bool(
        ((one == other) | (one != one) & (other != other)).all()
    )


def _does_something(answer: Any) -> bool:
    """Whether a function has more in it than the stub of an exercise: it uses or sets a name."""
    if not inspect.isfunction(answer):
        return False
    code = answer.__code__
    variables = code.co_nlocals - len(inspect.signature(answer).parameters)
    return variables > 0 or bool(set(code.co_names) - {"NotImplementedError"})


def _is_missing(outcome: Outcome) -> bool:
    """Whether an answer is still the stub: it returns nothing or says so."""
    if outcome.error is not None:
        return isinstance(outcome.error, NotImplementedError) and not outcome.error.args
    return outcome.values == ()


def _farthest(ones: Sequence[Outcome], others: Sequence[Outcome]) -> float:
    return max(a.distance(b) for a, b in zip(ones, others, strict=True))


def _difference(found: Sequence[Outcome], wanted: Sequence[Outcome], tolerance: float) -> str:
    """In one sentence, where an answer first differs from the right one."""
    for number, (ours, right) in enumerate(zip(found, wanted, strict=True), 1):
        where = f"in case {number} of {len(found)}"
        if ours.error is not None:
            said = str(ours.error).strip().splitlines() or ["no message"]
            return f"It raises {type(ours.error).__name__} {where}: {said[0]}"
        if ours.shapes != right.shapes:
            return f"The shape should be {_shapes(right)} {where}; it is {_shapes(ours)}."
        gap = ours.distance(right)
        if gap > tolerance:
            return f"The shape is right; the values differ by up to {gap:.3g} {where}."
    raise AssertionError("nothing differs")


def _shapes(outcome: Outcome) -> str:
    return " and ".join(map(str, outcome.shapes)) or "none"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("s" if number != 1 else "")
