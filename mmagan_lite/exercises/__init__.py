"""Exercises whose checks are proven: `check.NAME(answer)` judges, `lab.use(answer)` puts to work.

One file a notebook holds, for each exercise, the right answer, a case worked by hand, an
independent way to the same result, properties, and wrong answers that people give with a hint
each. tests/test_exercises.py runs them all against the check.
"""

from types import SimpleNamespace

from mmagan_lite.exercises import (  # noqa: F401
    ablations,
    attention,
    data,
    discriminator,
    evaluation,
    generator,
    losses,
    training,
)
from mmagan_lite.exercises.lab import Lab
from mmagan_lite.exercises.room import EXERCISES, Verdict

__all__ = ["EXERCISES", "Verdict", "check", "lab"]

check = SimpleNamespace(**{name: exercise.check for name, exercise in EXERCISES.items()})
"""``check.NAME(answer)`` for every exercise: a `Verdict`."""

lab = Lab()
"""The trained generator and the losses, to put a learner's parts into."""
