"""The panel that moves the muscles of a drawn face."""

import functools
from collections.abc import Iterator, Mapping

import torch
import traitlets
from PIL import Image

from mmagan_lite.expressions import EXPRESSIONS, index
from mmagan_lite.faces import ACTION_UNITS, PROTOTYPES
from mmagan_lite.faces.action_units import vector
from mmagan_lite.widgets import pictures
from mmagan_lite.widgets.explorer import PERSON
from mmagan_lite.widgets.panel import (
    Frame,
    Panel,
    Tile,
    Values,
    people,
    presets,
    slider,
    sliders,
    strengths,
)

SIZE = 128  # pixels
MOST = 1.5  # a unit's greatest strength
REGIONS = {
    "brows": ("1", "2L", "2R", "4"),
    "eyes, cheeks and nose": ("5", "6", "7", "43", "9", "38"),
    "mouth": ("10L", "10R", "12L", "12R", "14L", "14R", "15", "16", "17", "20", "23", "24", "25",
              "26", "27"),
}  # fmt: skip
"""The action units as the panel groups them."""


class ActionUnitPlayground(Panel):
    """The panel of `action_units`.

    Attributes
    ----------
    units : dict of str to float
        The strength of each unit in `ACTION_UNITS`, from 0 to 1.5.
    rho : float
        The strength ρ, which scales all units.
    identity : int
        The drawn person.
    """

    title = "Action-unit playground"
    units = traitlets.Dict().tag(sync=True)
    rho = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    identity = traitlets.Int(PERSON).tag(sync=True)

    def __init__(
        self,
        identity: int = PERSON,
        expression: str | int | Mapping[str | int, float] = "happiness",
    ) -> None:
        groups = [
            (name, [(unit, f"{unit} {ACTION_UNITS[unit].split(',')[0]}") for unit in units])
            for name, units in REGIONS.items()
        ]
        places = [i / 20 for i in range(round(20 * MOST) + 1)]
        texts = [f"{place:.2f}" for place in places]
        super().__init__(
            [
                people(identity),
                presets("start", "Start from", {e: {"units": _strengths(e)} for e in EXPRESSIONS}),
                slider("rho", "Strength ρ", **strengths(21)),
                sliders("units", "Units", groups, places, texts),
            ],
            identity=identity,
            units=_strengths(expression),
        )

    def show(self, expression: str | int | Mapping[str | int, float]) -> None:
        """Set the units' sliders.

        Parameters
        ----------
        expression : str, int, or mapping of action units to strengths
            The name or label of an expression, for its prototype, or units such as
            ``{12: 1.0, "2R": 0.5}``; units that are not named rest.

        Raises
        ------
        ValueError
            If there is no such expression or unit, or a strength is outside [0, 1.5].
        """
        self.units = _strengths(expression)

    @traitlets.validate("units")
    def _complete(self, proposal: Mapping) -> dict[str, float]:
        """All units, those that were not named at rest."""
        return _strengths(proposal["value"])

    def compose(self, values: Values) -> Frame:
        """The neutral face, the face that the units make, and in black where the two differ."""
        units, rho, person = values["units"], values["rho"], values["identity"]
        before, after = _two_faces(person, tuple(units.items()), rho)
        changed = pictures.changed(before, after)
        tiles = [
            Tile("input", "neutral", before),
            Tile("output", f"ρ = {rho:.2f}", after),
            Tile("mask", "where it changes", Image.fromarray(~changed).convert("RGB")),
        ]
        name, cosine = nearest(units, rho)
        text = f"person {person}, {_acting(units)} at ρ = {rho:.2f}: "
        text += f"{changed.mean():.0%} of the pixels change, most like {name}"
        return Frame([tiles], text if name == "neutral" else f"{text} (cosine {cosine:.2f})")

    def nearest(self) -> tuple[str, float]:
        """The expression whose prototype points most nearly in the direction of the units.

        Returns
        -------
        name : str
            "neutral" if no unit acts.
        cosine : float
            Of the angle between the two vectors of units, from 0 to 1; 0 for neutral.
        """
        return nearest(self.units, self.rho)

    def ahead(self) -> Iterator[Values]:
        """The presets, and the strengths of what is shown."""
        now = self.values()
        yield from (now | {"units": _strengths(name)} for name in EXPRESSIONS)
        yield from (now | {"rho": rho} for rho in strengths(21)["options"])


def nearest(units: Mapping[str, float], rho: float) -> tuple[str, float]:
    """The name and the cosine that `ActionUnitPlayground.nearest` gives."""
    acting = vector(units) * rho  # (25,)
    prototypes = torch.stack([vector(PROTOTYPES[name]) for name in EXPRESSIONS])  # (8, 25)
    cosines = torch.cosine_similarity(prototypes, acting)  # neutral's is 0
    best = int(cosines.argmax())
    return EXPRESSIONS[best], float(cosines[best])


def _strengths(expression: str | int | Mapping[str | int, float]) -> dict[str, float]:
    """The strength of every unit."""
    if not isinstance(expression, Mapping):
        expression = PROTOTYPES[EXPRESSIONS[index(expression)]]
    values = vector(expression).tolist()
    return {unit: round(value, 2) for unit, value in zip(ACTION_UNITS, values, strict=True)}


def _acting(strengths: Mapping[str, float]) -> str:
    """The units that act, in words; "12" stands for two equal sides."""
    acting = {}
    for unit, strength in strengths.items():
        number = unit.rstrip("LR")
        sides = {strengths[side] for side in strengths if side.rstrip("LR") == number}
        acting[number if len(sides) == 1 else unit] = strength
    shown = [f"{unit} {strength:.2f}" for unit, strength in acting.items() if strength]
    return "units " + ", ".join(shown) if shown else "no units"


@functools.lru_cache(64)
def _two_faces(
    person: int, units: tuple[tuple[str, float], ...], rho: float
) -> tuple[Image.Image, Image.Image]:
    """A person at rest, and with some action units."""
    before, after = pictures.drawn(person, dict(units), [0.0, rho], SIZE)
    return before, after
