"""Procedural faces: drawn people whose expression, intensity and true change are known exactly.

A face is built as a painter of reliefs would build it: a person (`identity`) and the muscles
that act (`action_units`) give curves (`geometry`) and a height field (`relief`), which is
coloured (`materials`), lit and put in front of a backdrop (`compositing`).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..expressions import intensities, labels
from .action_units import ACTION_UNITS, PROTOTYPES, activate, split, vector
from .compositing import compose
from .identity import draw_nuisance, draw_person

__all__ = ["ACTION_UNITS", "PROTOTYPES", "SIZES", "change_mask", "render"]

SIZES = (32, 64, 128, 256)


@torch.no_grad()
def render(
    identity: int | Tensor,
    expression: str | int | Tensor | Mapping[str | int, float],
    rho: float | Tensor = 1.0,
    nuisance: int | Tensor = 0,
    size: int = 128,
    variety: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw faces.

    A face depends on its own identity, expression, ρ and nuisance alone, to the bit on CPU; the
    others of its batch do not matter. At ρ = 0 it is the neutral face of the same person in the
    same photograph.

    Parameters
    ----------
    identity : int or Tensor of shape (B,)
        Seed of the person.
    expression : str, int, Tensor of shape (B,), sequence of these, or mapping
        Names or labels from `EXPRESSIONS`, or a mapping of action units to strengths such as
        ``{12: 1.0, "2R": 0.5}`` (see `ACTION_UNITS`).
    rho : float or Tensor of shape (B,)
        Intensity in [0, 1]; scales action units as well.
    nuisance : int or Tensor of shape (B,)
        Seed of pose, light, backdrop and grain.
    size : {32, 64, 128, 256}
        Side in pixels; 32 and 64 are averages of the drawing at 128, before it is rounded.
    variety : float
        How much people and photographs differ, from 0 (one pose, light and backdrop) to 1.
    device : torch.device or str, optional
        Where to draw; default: where `identity` lies.

    Returns
    -------
    Tensor
        Shape (B, 3, size, size), float32 RGB in [0, 1], rounded to 8-bit levels.

    Raises
    ------
    ValueError
        If an expression or unit is unknown, ρ or variety is outside [0, 1], a seed is not a
        whole number, the size is not one of the four, or lengths differ.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of 32, 64, 128, 256; got {size!r}.")
    if not 0 <= variety <= 1:
        raise ValueError(f"variety must be from 0 to 1; got {variety!r}.")
    seeds = [_seeds("identity", identity), _seeds("nuisance", nuisance)]
    strengths = intensities(rho)
    if isinstance(expression, Mapping):
        code = vector(expression)[None]
        *seeds, strengths = _broadcast(*seeds, strengths)
        units = code.to(strengths.device) * strengths[:, None]
    else:
        *seeds, strengths, c = _broadcast(*seeds, strengths, labels(expression))
        units = activate(c, strengths)
    device = device or seeds[0].device
    person_seed, photo_seed, units = (t.to(device) for t in (*seeds, units))

    canvas = max(size, 128)
    person = draw_person(person_seed, variety)
    photo = draw_nuisance(person_seed, photo_seed, variety, canvas)
    image = compose(person, photo, split(units), canvas)
    if canvas > size:
        image = F.avg_pool2d(image, canvas // size)
    return (image.clamp(0, 1) * 255).round() / 255


def change_mask(
    identity: int | Tensor,
    expression: str | int | Tensor | Mapping[str | int, float],
    rho: float | Tensor = 1.0,
    nuisance: int | Tensor = 0,
    size: int = 128,
    variety: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Where a face differs from its own neutral by at least one 8-bit level.

    Parameters
    ----------
    identity, expression, rho, nuisance, size, variety, device
        As for `render`.

    Returns
    -------
    Tensor
        Shape (B, size, size), bool.

    Raises
    ------
    ValueError
        As for `render`.
    """
    face = render(identity, expression, rho, nuisance, size, variety, device)
    neutral = render(identity, "neutral", 0.0, nuisance, size, variety, device)
    return (face != neutral).any(1)


def _seeds(name: str, seed: int | Tensor) -> Tensor:
    """Seeds as an int64 tensor."""
    try:
        seed = torch.as_tensor(seed)
    except (TypeError, ValueError, RuntimeError):
        seed = torch.tensor(0.5)  # falls through to the one sentence below
    if seed.is_floating_point() or seed.dtype == torch.bool or seed.dim() > 1:
        raise ValueError(f"{name} must be a whole number or a tensor of them of shape (B,).")
    return seed.long()


def _broadcast(*values: Tensor) -> list[Tensor]:
    """Scalars and vectors as vectors of one length."""
    lengths = {len(v) for v in values if v.dim()} - {1}
    if len(lengths) > 1:
        raise ValueError(f"Give one value or one per face; got lengths {sorted(lengths)}.")
    size = max(lengths, default=1)
    device = max((v.device for v in values), key=str)  # "cuda:0" rather than "cpu"
    return [v.to(device).reshape(-1).expand(size) for v in values]
