"""Action units: the muscles of the face, and which of them make an expression.

The combinations follow the prototypes of EMFACS (Ekman & Friesen) as public summaries tabulate
them; strengths, and the units added so that 128 pixels suffice to read a face, were chosen by
eye.
"""

from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor

from ..expressions import EXPRESSIONS

ACTION_UNITS: dict[str, str] = {
    "1": "inner brow raiser",
    "2L": "outer brow raiser, image left",
    "2R": "outer brow raiser, image right",
    "4": "brow lowerer",
    "5": "upper lid raiser",
    "6": "cheek raiser",
    "7": "lid tightener",
    "9": "nose wrinkler",
    "10L": "upper lip raiser, image left",
    "10R": "upper lip raiser, image right",
    "12L": "lip corner puller, image left",
    "12R": "lip corner puller, image right",
    "14L": "dimpler, image left",
    "14R": "dimpler, image right",
    "15": "lip corner depressor",
    "16": "lower lip depressor",
    "17": "chin raiser",
    "20": "lip stretcher",
    "23": "lip tightener",
    "24": "lip pressor",
    "25": "lips part",
    "26": "jaw drop",
    "27": "mouth stretch",
    "38": "nostril dilator",
    "43": "eyes closing",
}
"""The units that the renderer knows; "2" alone means "2L" and "2R" together."""

PROTOTYPES: dict[str, dict[str, float]] = {
    "neutral": {},
    "happiness": {"6": 1.0, "12": 1.0, "25": 0.9, "7": 0.15},
    "sadness": {"1": 1.25, "4": 0.55, "15": 1.3, "17": 0.9, "43": 0.5, "7": 0.1},
    "surprise": {"1": 1.0, "2": 1.0, "5": 1.0, "25": 1.0, "27": 1.0},
    "fear": {"1": 1.1, "2": 0.5, "4": 0.7, "5": 1.0, "20": 1.0, "25": 1.0, "16": 0.6, "26": 0.5},
    "disgust": {"9": 0.9, "10": 1.15, "4": 0.5, "6": 0.5, "7": 0.8, "15": 0.6, "17": 0.5,
                "25": 0.4, "16": 0.3},
    "anger": {"4": 1.3, "5": 0.6, "7": 0.5, "23": 1.0, "24": 1.0, "17": 0.6, "38": 1.0, "15": 0.25},
    "contempt": {"12R": 0.85, "14R": 1.0, "10R": 0.4, "2R": 0.6, "7": 0.3, "43": 0.25},
}  # fmt: skip
"""Expression -> unit -> strength at ρ = 1. Contempt lifts the image's right side, always: a
random side could not be told from the code z."""

_NAMES = list(ACTION_UNITS)

# Faint smiles, sad brows and dimples have to show in a few pixels: these units start steeper, and
# are the same at full strength.
_EARLY = torch.tensor([name.rstrip("LR") in ("1", "6", "12", "14", "15") for name in _NAMES])


def vector(units: Mapping[str | int, float]) -> Tensor:
    """A mapping of action units to strengths as a vector over `ACTION_UNITS`.

    Parameters
    ----------
    units : mapping of str or int to float
        For example ``{12: 1, "2R": 0.5}``; a unit without its side acts on both. Strengths are
        from 0 (at rest) to 1.5 (overdone).

    Returns
    -------
    Tensor
        Strengths, float32, shape (25,).

    Raises
    ------
    ValueError
        If there is no such unit or a strength is out of its range.
    """
    values = torch.zeros(len(_NAMES))
    for unit, strength in units.items():
        sides = [name for name in (str(unit), f"{unit}L", f"{unit}R") if name in ACTION_UNITS]
        if not sides:
            raise ValueError(f"Unknown action unit {unit!r}; expected one of {', '.join(_NAMES)}.")
        if not isinstance(strength, Real) or not 0 <= strength <= 1.5:
            raise ValueError(f"Action unit {unit} must be from 0 to 1.5; got {strength!r}.")
        for name in sides:
            values[_NAMES.index(name)] = strength
    return values


_TABLE = torch.stack([vector(PROTOTYPES[name]) for name in EXPRESSIONS])  # (8, 25)


def activate(expression: Tensor, rho: Tensor) -> Tensor:
    """Action units of expressions at given intensities; all grow in proportion to ρ.

    Parameters
    ----------
    expression : Tensor of shape (B,)
        Labels 0 to 7.
    rho : Tensor of shape (B,)
        Intensities in [0, 1].

    Returns
    -------
    Tensor
        Strengths, shape (B, 25).
    """
    return _TABLE.to(rho.device)[expression] * rho[:, None]


def split(strengths: Tensor) -> dict[str, Tensor]:
    """What is seen of (B, 25) strengths, by unit, each (B, 1, 1) to combine with images."""
    seen = torch.where(_EARLY.to(strengths.device), strengths * (1.4 - 0.4 * strengths), strengths)
    return {name: seen[:, i, None, None] for i, name in enumerate(_NAMES)}
