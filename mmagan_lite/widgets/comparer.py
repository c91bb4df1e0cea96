"""The panel that puts several networks side by side."""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import traitlets
from PIL import Image
from torch import nn

from mmagan_lite import ablation, editing
from mmagan_lite.evaluation import edited
from mmagan_lite.expressions import EXPRESSIONS, encode
from mmagan_lite.widgets import pictures
from mmagan_lite.widgets.explorer import PERSON
from mmagan_lite.widgets.panel import (
    Frame,
    Panel,
    Tile,
    Values,
    choice,
    people,
    slider,
    strengths,
)


class VariantComparer(Panel):
    """The panel of `compare`.

    Attributes
    ----------
    models : dict of str to Module
        What is compared.
    expression : str
        The target expression, a name in `EXPRESSIONS`.
    rho : float
        The strength ρ, 0 to 1.
    identity : int
        The drawn person.
    """

    title = "Variants side by side"
    expression = traitlets.Enum(EXPRESSIONS, "happiness").tag(sync=True)
    rho = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    identity = traitlets.Int(PERSON).tag(sync=True)

    def __init__(
        self, models: Mapping[str, nn.Module] | None = None, identity: int = PERSON
    ) -> None:
        self.models = shipped() if models is None else dict(models)
        sizes = {editing.image_size(model) for model in self.models.values()}
        if len(sizes) != 1:
            raise ValueError(
                f"Compare models for images of one size; got {sorted(sizes) or 'no model'}."
            )
        self.size = sizes.pop()
        self._output = functools.lru_cache(128 * len(self.models))(self._output)
        super().__init__(
            [
                people(identity),
                choice("expression", "Expression", EXPRESSIONS[1:]),
                slider("rho", "Strength ρ", **strengths()),
            ],
            identity=identity,
        )

    def compose(self, values: Values) -> Frame:
        """Input and exact answer, and what each model makes, with the squared error it removes."""
        person, expression, rho = (values[k] for k in ("identity", "expression", "rho"))
        before, truth = (
            pictures.drawn(person, e, [r], self.size)[0]
            for e, r in (("neutral", 0.0), (expression, rho))
        )
        tiles, removed = [], {}
        for name in self.models:
            after = self._output(name, person, expression, rho)
            removed[name] = _error_removed(before, after, truth)
            tiles.append(Tile(name, f"{name}: {_signed(removed[name])}", after))
        first = [Tile("input", "input", before), Tile("truth", "exact answer", truth)]
        text = f"person {person}, {expression}, ρ = {rho:.1f}: "
        return Frame([first, tiles], text + self._verdict(removed))

    def ahead(self) -> Iterator[Values]:
        """What one step of a control shows, then everything about this person."""
        now, options = self.values(), strengths()["options"]
        yield from (now | {"expression": name} for name in EXPRESSIONS[1:])
        yield from (now | {"rho": rho} for rho in options)
        yield from (now | {"expression": e, "rho": r} for e in EXPRESSIONS[1:] for r in options)

    @torch.inference_mode()
    def _output(self, name: str, person: int, expression: str, rho: float) -> Image.Image:
        x = editing.to_tensor(pictures.drawn(person, "neutral", [0.0], self.size))
        neutral = torch.zeros(1, dtype=torch.long)  # CycleGAN has to be told
        return editing.to_pil(edited(self.models[name], x, encode(expression, rho)[None], neutral))[
            0
        ]

    def _verdict(self, removed: Mapping[str, float]) -> str:
        """Which model comes nearest to the exact answer."""
        if any(np.isnan(value) for value in removed.values()):
            return "the exact answer is the input, so there is no error to remove"
        best = max(removed, key=removed.get)
        better = sum(value > 0 for value in removed.values())
        return (
            f"nearest to the exact answer: {best}; {better} of {len(removed)} "
            f"come nearer than the input (1: exact, 0: no nearer than the input)"
        )


@functools.cache
def shipped() -> dict[str, nn.Module]:
    """The rows of the ablation that come with the package, by their labels in tables."""
    return {ablation.LABELS[row]: model for row, model in ablation.load_rows(64).items()}


def _error_removed(before: Image.Image, after: Image.Image, truth: Image.Image) -> float:
    """1 − |output − truth|² / |input − truth|²; NaN where the input is the truth."""
    error = [
        np.square(pictures.levels(image) - pictures.levels(truth)).sum()
        for image in (after, before)
    ]
    return 1 - error[0] / error[1] if error[1] else np.nan


def _signed(value: float) -> str:
    return "no error" if np.isnan(value) else f"{value:+.2f}".replace("-", "−")
