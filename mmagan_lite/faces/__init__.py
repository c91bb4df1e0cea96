"""Procedural faces: drawn people whose expression, intensity and true change are known exactly.

A face is built as a painter of reliefs would build it: a person (`identity`) and the muscles
that act (`action_units`) give curves (`geometry`) and a height field (`relief`), which is
coloured (`materials`), lit and put in front of a backdrop (`compositing`).
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from ..expressions import intensities, labels
from .action_units import ACTION_UNITS, PROTOTYPES, activate, split, vector
from .compositing import Scene, compose, make_scene
from .geometry import Plane, lower_jaw, make_plane
from .identity import Nuisance, Person, draw_nuisance, draw_person, few

__all__ = ["ACTION_UNITS", "PROTOTYPES", "SIZES", "change_mask", "render"]

SIZES = (32, 64, 128, 256)

CHUNK, CHUNK_ON_GPU = 8, 256
"""Faces drawn at a time: what is worked on should stay in a processor's cache, fit into the
memory of a GPU and keep it busy."""


@torch.no_grad()
def render(
    identity: int | Tensor,
    expression: str | int | Tensor | Mapping[str | int, float],
    rho: float | Tensor = 1.0,
    nuisance: int | Tensor = 0,
    size: int = 128,
    variety: float = 1.0,
    occlusion: float = 0.0,
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
    occlusion : float
        Share of the photographs, from 0 to 1, in which sunglasses, a mask or a hand hides a
        part of the face; which ones depends on the seeds.
    device : torch.device or str, optional
        Where to draw; default: where `identity` lies.

    Returns
    -------
    Tensor
        Shape (B, 3, size, size), float32 RGB in [0, 1], rounded to 8-bit levels.

    Raises
    ------
    ValueError
        If an expression or unit is unknown, ρ, variety or occlusion is outside [0, 1], a seed
        is not a whole number, the size is not one of the four, or lengths differ.
    """
    person, photo, units = _checked(identity, expression, rho, nuisance, size, variety, occlusion)
    device = torch.device(device or person.device)
    person, photo, units = (t.to(device) for t in (person, photo, units))
    return _draw(person, photo, units, size, variety, occlusion)


def change_mask(
    identity: int | Tensor,
    expression: str | int | Tensor | Mapping[str | int, float],
    rho: float | Tensor = 1.0,
    nuisance: int | Tensor = 0,
    size: int = 128,
    variety: float = 1.0,
    occlusion: float = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Where a face differs from its own neutral by at least one 8-bit level.

    Parameters
    ----------
    identity, expression, rho, nuisance, size, variety, occlusion, device
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
    person, photo, units = _checked(identity, expression, rho, nuisance, size, variety, occlusion)
    device = torch.device(device or person.device)
    person, photo = (t.to(device).repeat_interleave(2) for t in (person, photo))
    units = torch.stack([units, torch.zeros_like(units)], 1).flatten(0, 1).to(device)
    image = _draw(person, photo, units, size, variety, occlusion)
    return (image[0::2] != image[1::2]).any(1)


def _checked(
    identity, expression, rho, nuisance, size: int, variety: float, occlusion: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Seeds of people (B,) and photographs (B,), and action units (B, 25)."""
    if type(size) is not int or size not in SIZES:
        raise ValueError(f"size must be one of 32, 64, 128, 256; got {size!r}.")
    for name, share in (("variety", variety), ("occlusion", occlusion)):
        if not isinstance(share, Real) or not 0 <= share <= 1:
            raise ValueError(f"{name} must be from 0 to 1; got {share!r}.")
    seeds = [_seeds("identity", identity), _seeds("nuisance", nuisance)]
    strengths = intensities(rho)
    if isinstance(expression, Mapping):
        code = vector(expression)[None]
        *seeds, strengths = _broadcast(*seeds, strengths)
        units = code.to(strengths.device) * strengths[:, None]
    else:
        *seeds, strengths, c = _broadcast(*seeds, strengths, labels(expression))
        units = activate(c, strengths)
    return *seeds, units


@torch.no_grad()
def _draw(
    person: Tensor, photo: Tensor, units: Tensor, size: int, variety: float, occlusion: float
) -> Tensor:
    """Pictures (B, 3, size, size) of checked seeds and units, drawn in parts that fit a cache."""
    whole = (person, photo, units)
    if len(person) == 0:
        return torch.empty(0, 3, size, size, device=person.device)
    threads = torch.get_num_threads() if person.device.type == "cpu" else 1
    most = CHUNK if person.device.type == "cpu" else CHUNK_ON_GPU
    parts = zip(*(t.split(min(most, -(-len(t) // threads))) for t in whole), strict=True)
    jobs = [(*part, size, variety, occlusion) for part in parts]
    if threads == 1:
        return torch.cat([_draw_part(*job) for job in jobs])
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(lambda job: _draw_part(*job), jobs)))
    finally:
        torch.set_num_threads(threads)  # what the pool's threads set holds for new ones, too


@torch.no_grad()
def _draw_part(
    person: Tensor, photo: Tensor, units: Tensor, size: int, variety: float, occlusion: float
) -> Tensor:
    """The pictures of one part."""
    canvas = max(size, 128)
    p, n, plane, scene = _photographs(person, photo, variety, occlusion, canvas)
    a = split(units)
    image = compose(p, n, a, lower_jaw(plane, a), scene)
    if canvas > size:
        image = F.avg_pool2d(image, canvas // size)
    return image.clamp_(0, 1).mul_(255).round_().div_(255)


def _photographs(
    person: Tensor, photo: Tensor, variety: float, occlusion: float, canvas: int
) -> tuple[Person, Nuisance, Plane, Scene]:
    """All that an expression leaves alone: drawn once for all expressions of a photograph."""
    pairs, which = torch.unique(torch.stack([person, photo], 1), dim=0, return_inverse=True)
    p = draw_person(pairs[:, 0], variety)
    n = draw_nuisance(pairs[:, 0], pairs[:, 1], variety, canvas, occlusion)
    plane = make_plane(n, canvas)
    drawn = (p, n, plane, make_scene(p, n, plane))
    if len(pairs) == len(person) and bool((which[1:] > which[:-1]).all()):
        return drawn  # each once, in order
    return tuple(few(batch, which) for batch in drawn)


def _seeds(name: str, seed: int | Tensor) -> Tensor:
    """Seeds as an int64 tensor."""
    try:
        seed = torch.as_tensor(seed)
    except (TypeError, ValueError, RuntimeError):
        seed = torch.tensor(0.5)  # falls through to the one sentence below
    whole = not seed.is_floating_point() and not seed.is_complex() and seed.dtype != torch.bool
    if not whole or seed.dim() > 1:
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
