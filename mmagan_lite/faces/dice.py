"""Random numbers that depend on a seed and nothing else: not on batch, order or device."""

import torch
from torch import Tensor


def scramble(x: Tensor) -> Tensor:
    """A 32-bit integer hash of int64 values (the low 32 bits of each count)."""
    mask = 0xFFFFFFFF
    x = x & mask
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & mask
    x = ((x ^ (x >> 15)) * 0x735A2D97) & mask
    return x ^ (x >> 15)


MOST_THROWS = 128
"""How often one `Dice` can be thrown."""


class Dice:
    """Draws for a batch of seeds: the k-th throw is a function of seed, stream and k alone.

    Parameters
    ----------
    seeds : Tensor of shape (B,)
        One whole number per face.
    stream : int
        Keeps apart what is drawn for different purposes from one seed.
    spread : float
        1 draws from the whole range, 0 always its centre.
    """

    def __init__(self, seeds: Tensor, stream: int, spread: float = 1.0) -> None:
        high = scramble((seeds >> 32) ^ 0x5BD1E995)
        self.key = scramble(seeds + 0x9E3779B9 * stream) ^ high  # (B,)
        self.spread = spread
        self.throws = 0
        throws = torch.arange(1, MOST_THROWS + 1, device=seeds.device)
        self.singles = self._fractions(0x10001 * throws)  # (B, MOST_THROWS), all at once: fast

    def _fractions(self, places: Tensor) -> Tensor:
        """Numbers in (0, 1) for integer places (K,): shape (B, K)."""
        bits = scramble(scramble(places)[None] + self.key[:, None])
        return ((bits >> 8).float() + 0.5).div_(1 << 24)

    def _unit(self, *shape: int) -> Tensor:
        """The next throw: uniform in (0, 1), shape (B, *shape)."""
        self.throws += 1
        count = torch.Size(shape).numel()
        if count == 1:
            return self.singles[:, self.throws - 1].reshape(-1, *shape)
        places = torch.arange(count, device=self.key.device) + 0x10001 * self.throws
        return self._fractions(places).reshape(-1, *shape)

    def uniform(self, low: float, high: float) -> Tensor:
        """Uniform in [low, high], narrowed towards the middle by `spread`; shape (B, 1, 1)."""
        return (low + high) / 2 + (high - low) * self.spread * (self._unit(1, 1) - 0.5)

    def normal(self, mean: float, deviation: float) -> Tensor:
        """Bell-shaped (the sum of three uniforms, so never beyond 3 deviations); (B, 1, 1)."""
        total = self._unit(1, 1) + self._unit(1, 1) + self._unit(1, 1)
        return mean + deviation * self.spread * 2 * (total - 1.5)

    def chance(self, probability: float | Tensor) -> Tensor:
        """1.0 with the given probability, else 0.0; shape (B, 1, 1). Rarer with less spread."""
        return (self._unit(1, 1) < probability * self.spread).float()

    def pick(self, table: Tensor) -> Tensor:
        """A row of a (K, C) table, the first more often with less spread; shape (B, C, 1, 1)."""
        row = (self._unit() * self.spread * len(table)).long()
        return table.to(row.device)[row][:, :, None, None]

    def texture(self, height: int, width: int) -> Tensor:
        """White noise, uniform in (-1, 1), shape (B, 1, height, width)."""
        return self._unit(1, height, width) * 2 - 1
