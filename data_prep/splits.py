"""Who is held out for testing: whom the data set says, else people, else single pictures."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from data_prep.records import Record


def rank(seed: int, name: str) -> int:
    """A fixed random number for a name, 0 to 2**64 - 1, whatever else the data set holds."""
    key = f"{seed}/{name}".encode(errors="surrogateescape")  # names need not be proper Unicode
    return int.from_bytes(sha256(key).digest()[:8])


@dataclass(frozen=True)
class Splits:
    """How pictures are shared between training and testing.

    Parameters
    ----------
    share : float
        Share held out for testing where the data set has no split of its own.
    seed : int
        Which ones those are.
    test_people : frozenset of str
        The people held out: an exact share of them.
    """

    share: float
    seed: int
    test_people: frozenset[str]

    def of(self, record: Record, source: Path) -> tuple[str, str]:
        """The split of a picture, "train" or "test", and who chose it."""
        if record.split is not None:
            return record.split, "by the data set"
        if record.subject is not None:
            return "test" if record.subject in self.test_people else "train", "by person"
        # All faces of one photograph belong together; a table's rows are different pictures.
        name = os.path.relpath(record.path, source)
        if record.pixels is not None:
            name += f"#{record.row}"
        return "test" if rank(self.seed, name) < self.share * 2**64 else "train", "by picture"


def first_pass(records: Iterable[Record], share: float, seed: int) -> tuple[int, Splits]:
    """Count the records and choose the people to test on."""
    found, people = 0, set()
    for record in records:
        found += 1
        if record.subject is not None and record.split is None:
            people.add(record.subject)
    ranked = sorted(people, key=lambda person: rank(seed, person))
    return found, Splits(share, seed, frozenset(ranked[: round(share * len(ranked))]))
