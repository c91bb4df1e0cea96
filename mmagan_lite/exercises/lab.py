"""A learner's parts at work: in the trained generator, or in place of our losses."""

import base64
import copy
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mmagan_lite import checkpoints, editing, faces, losses, plots
from mmagan_lite.exercises.room import EXERCISES, GREEN, Exercise, Verdict
from mmagan_lite.expressions import encode
from mmagan_lite.generator import Generator

PERSON, EXPRESSION = 1_000_007, "surprise"
"""The face that is redrawn each time, so that one can compare."""


@dataclass(frozen=True)
class Redrawn:
    """The same face by the reference and with a learner's part, as a sentence and a picture."""

    text: str
    picture: bytes

    def __repr__(self) -> str:
        """What a notebook prints."""
        return self.text

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        return {"text/plain": self.text, "image/png": base64.b64encode(self.picture).decode()}


@functools.cache
def trained() -> Generator:
    """The generator that the notebooks about its parts look into, read once."""
    return checkpoints.load_pretrained("mmagan-64")


class Lab:
    """Where parts are swapped.

    Attributes
    ----------
    parts : dict
        The learner's parts in use, by the name of their exercise.
    """

    def __init__(self) -> None:
        self.parts: dict[str, Callable] = {}
        self._ours: dict[str, Callable] = {}

    def use(self, answer: Callable) -> "Redrawn | Verdict":
        """Put an answer to work that `check` finds right.

        Parameters
        ----------
        answer : function or class
            Named as its exercise.

        Returns
        -------
        Redrawn or Verdict
            The same face with the part in it and the largest difference from ours; for a loss
            that difference alone; the verdict, if the answer is not right yet.

        Raises
        ------
        ValueError
            If there is no exercise of this name, or its answer has no place in the model.
        """
        exercise = EXERCISES.get(getattr(answer, "__name__", ""))
        if exercise is None or (exercise.install is None and exercise.slot is None):
            places = [e.name for e in EXERCISES.values() if e.install or e.slot]
            raise ValueError(f"lab.use takes an answer called one of {', '.join(places)}.")
        verdict = exercise.check(answer)
        if verdict.colour != GREEN:
            return verdict
        self.parts[exercise.name] = answer
        if exercise.slot is not None:
            self._ours.setdefault(exercise.slot, getattr(losses, exercise.slot))
            setattr(losses, exercise.slot, answer)
            text = (
                f"in place of losses.{exercise.slot} until lab.reset(). "
                f"Largest difference from ours: {exercise.difference(answer):.6f}."
            )
            return Verdict(exercise.name, GREEN, text)
        return self._redraw(exercise)

    def reset(self) -> None:
        """Take all of the learner's parts out again."""
        for slot, function in self._ours.items():
            setattr(losses, slot, function)
        self.parts.clear()
        self._ours.clear()

    def model(self) -> Generator:
        """The trained generator with the learner's parts in it."""
        model = copy.deepcopy(trained())
        for name, answer in self.parts.items():
            if EXERCISES[name].install is not None:
                EXERCISES[name].install(model, answer)
        return model.eval()

    def _redraw(self, exercise: Exercise) -> Redrawn:
        x = 2 * faces.render(PERSON, "neutral", 0.0, size=64) - 1  # (1, 3, 64, 64)
        z = encode([EXPRESSION], 1.0)  # (1, 8)
        with torch.inference_mode():
            ours, theirs = trained()(x, z), self.model()(x, z)
        gap = (ours - theirs).abs().max().item()
        pictures = [editing.to_pil(image)[0] for image in (x, ours, theirs)]
        figure = plots.grid([pictures], column_labels=["input", "ours", "with your part"])
        file = io.BytesIO()
        figure.savefig(file, dpi=100)
        text = (
            f"{exercise.name}: in the trained generator until lab.reset(). "
            f"Largest difference from ours: {127.5 * gap:.2f} of 255 levels."
        )
        return Redrawn(text, file.getvalue())
