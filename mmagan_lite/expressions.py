"""The eight expressions and the code z that tells the generator what to draw."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

EXPRESSIONS = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""The order of AffectNet's labels 0 to 7; every label in the package is an index into it."""

N = len(EXPRESSIONS)
"""Number of expressions: the length of z and of the critic's logits and coordinates."""


def index(expression: str | int) -> int:
    """The label of an expression, given by name or already as a label.

    Parameters
    ----------
    expression : str or int
        A name in `EXPRESSIONS` or a label from 0 to 7.

    Returns
    -------
    int
        The label, 0 (neutral) to 7 (contempt).

    Raises
    ------
    ValueError
        If there is no such expression.
    """
    if isinstance(expression, str):
        if expression in EXPRESSIONS:
            return EXPRESSIONS.index(expression)
    elif isinstance(expression, Integral) and not isinstance(expression, bool):  # NumPy's, too
        if 0 <= expression < N:
            return int(expression)
    raise ValueError(
        f"Unknown expression {expression!r}; expected one of {', '.join(EXPRESSIONS)} "
        f"or a label from 0 to {N - 1}."
    )


def labels(expression: str | int | Sequence[str | int] | Tensor) -> Tensor:
    """Expressions as a tensor of labels.

    Parameters
    ----------
    expression : str, int, sequence of these, or integer Tensor of shape () or (B,)

    Returns
    -------
    Tensor
        Labels 0 to 7, int64, shape () for a single expression and (B,) for several.

    Raises
    ------
    ValueError
        If an expression is unknown or the tensor does not hold labels.
    """
    if isinstance(expression, Tensor):
        whole = not expression.is_floating_point() and expression.dtype != torch.bool
        if not whole or expression.dim() > 1:
            raise ValueError(
                f"Expressions as a tensor must be whole labels of shape () or (B,); "
                f"got {expression.dtype} of shape {tuple(expression.shape)}."
            )
        wrong = expression[(expression < 0) | (expression >= N)]
        if wrong.numel():
            index(int(wrong[0]))  # raises the one sentence for unknown expressions
        return expression.long()
    items = np.asarray(expression, dtype=object)
    if items.ndim == 0:
        return torch.tensor(index(items.item()))
    plain = [e.item() if isinstance(e, Tensor) else e for e in items.reshape(-1)]
    return torch.tensor([index(e) for e in plain]).long()


def intensities(rho: float | Sequence[float] | Tensor) -> Tensor:
    """Intensities as a checked float tensor.

    Parameters
    ----------
    rho : float, sequence of float, or Tensor of shape () or (B,)
        Strength of the expression, in [0, 1].

    Returns
    -------
    Tensor
        float32, same shape.

    Raises
    ------
    ValueError
        If a value is not a number in [0, 1].
    """
    try:
        rho = torch.as_tensor(rho, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"rho must be a number from 0 to 1; got {rho!r}.") from None
    wrong = rho[~((rho >= 0) & (rho <= 1))]  # the negation catches NaN too
    if wrong.numel() or rho.dim() > 1:
        found = f"{float(wrong[0]):g}" if wrong.numel() else f"shape {tuple(rho.shape)}"
        raise ValueError(
            f"rho must be a number from 0 (neutral) to 1 (full strength), or one per image; "
            f"got {found}."
        )
    return rho


def encode(
    expression: str | int | Sequence[str | int] | Tensor,
    rho: float | Sequence[float] | Tensor = 1.0,
) -> Tensor:
    r"""Encode expression and intensity as :math:`z = \rho \cdot \mathrm{onehot}(c)`.

    The paper writes z = (c, ρ), "combined by element-wise multiplication"; the product is the
    only reading that fits its N + 3 input channels. Neutral has no direction of its own: it is
    the origin, as every expression is at ρ = 0.

    Parameters
    ----------
    expression : str, int, sequence of these, or integer Tensor of shape () or (B,)
        Names or labels of the target expressions, c.
    rho : float, sequence of float, or Tensor of shape () or (B,)
        Intensity in [0, 1].

    Returns
    -------
    Tensor
        z, float32: shape (8,) for one expression and one ρ, else (B, 8).

    Raises
    ------
    ValueError
        If an expression is unknown, ρ is outside [0, 1] or NaN, or their lengths differ.

    Examples
    --------
    >>> encode("happiness", 0.5)
    tensor([0.0000, 0.5000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000])
    """
    c, rho = labels(expression), intensities(rho)
    device = c.device if c.device.type != "cpu" else rho.device
    c, rho = c.to(device), rho.to(device)
    if c.dim() and rho.dim() and len(c) != len(rho):
        raise ValueError(f"Got {len(c)} expressions but {len(rho)} values of rho; give one each.")
    z = torch.nn.functional.one_hot(c, N).float() * rho.unsqueeze(-1)
    return z * (c != 0).unsqueeze(-1)


def decode(z: Tensor) -> tuple[Tensor, Tensor]:
    """The expression and intensity in a code: the inverse of `encode`.

    Parameters
    ----------
    z : Tensor of shape (..., 8)

    Returns
    -------
    expression : Tensor of shape (...)
        Labels, int64; 0 (neutral) where z is zero.
    rho : Tensor of shape (...)
        Intensities in [0, 1]; 0 where neutral.
    """
    rho, c = z.max(-1)
    return torch.where(rho > 0, c, torch.zeros_like(c)), rho
