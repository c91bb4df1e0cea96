"""Near-duplicates: the same photograph in training and testing, under two names.

Fingerprints are perceptual hashes of 16 x 16 bits (imagehash's `phash`, Zauner 2010) of the
photograph before alignment: landmarks move by a pixel between two copies of one photograph, and
that moves an aligned crop, and its hash, further than another smile would. Measured on 164
photographs of 82 people, neutral and smiling, in bits that differ (of 256):

=====================================  ===================  ====================
                                       photographs          crops of 128 x 128
=====================================  ===================  ====================
JPEG quality 60                        median 2, at most 4  median 2, at most 8
JPEG quality 30                        2, 10                4, 12
half or 1.5 times the size             0, 4                 0, 4
a third of the size, JPEG quality 60   2, 6                 8, 16
5 % brighter                           4, 14                0, 6
10 % brighter                          10, 22               2, 10
20 % brighter                          16, 32               4, 16
contrast raised by 20 %                4, 12                2, 10
the same person, other expression      86, at least 30      46, at least 14
other people                           102, at least 46     110, at least 54
=====================================  ===================  ====================

A hash of 8 x 8 bits cannot tell: other people differ in as little as 4 bits there. Copies that
were cropped anew are not found (2 % off each side: 30 bits).
"""

from importlib.util import find_spec

import numpy as np
from PIL import Image

HASH_SIZE = 16
BITS = HASH_SIZE**2
NEAR = {"photographs": 22, "crops": 12}
"""Up to how many differing bits two pictures count as copies; see the table above."""

CHUNK = 1024  # hashes compared with as many others at a time: a few megabytes


def available() -> bool:
    """Whether imagehash is installed."""
    return find_spec("imagehash") is not None


def fingerprint(photo: Image.Image) -> str:
    """The perceptual hash of a picture, as hexadecimal digits."""
    import imagehash

    return str(imagehash.phash(photo, hash_size=HASH_SIZE))


def near_pairs(
    train: bytes, test: bytes, threshold: int, keep: int = 100
) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Pairs of hashes, one from each set, that differ in few bits.

    Parameters
    ----------
    train, test : bytes
        Hashes one after the other, 32 bytes each.
    threshold : int
        How many of the 256 bits may differ.
    keep : int
        How many pairs to return at most.

    Returns
    -------
    pairs : int
        How many there are in all.
    concerned : int
        In how many hashes of `test`.
    kept : list of (train number, test number, differing bits)
        The closest first.
    """
    train, test = (np.frombuffer(h, np.uint8).reshape(-1, BITS // 8) for h in (train, test))
    pairs, concerned, kept = 0, 0, []
    for j in range(0, len(test), CHUNK):
        columns = _signs(test[j : j + CHUNK])
        hit = np.zeros(len(columns), bool)
        for i in range(0, len(train), CHUNK):
            different = (BITS - _signs(train[i : i + CHUNK]) @ columns.T) / 2  # (train, test)
            near = different <= threshold
            pairs += int(near.sum())
            hit |= near.any(axis=0)
            for k in np.flatnonzero(near)[: keep - len(kept)]:
                row, column = divmod(int(k), len(columns))
                kept.append((i + row, j + column, int(different[row, column])))
        concerned += int(hit.sum())
    return pairs, concerned, sorted(kept, key=lambda pair: pair[2])


def _signs(hashes: np.ndarray) -> np.ndarray:
    """Bits as -1 and 1: the product of two hashes is then BITS less twice their distance."""
    return 2 * np.unpackbits(hashes, axis=1).astype(np.float32) - 1
