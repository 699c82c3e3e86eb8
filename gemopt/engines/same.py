"""Ranks that recorded the same tokens, which must not be counted once per rank.

Without data-parallel attention every rank sees every token, and some recorders write
counts that are summed over ranks already. Counts of different tokens are never the same
over a whole recording.
"""

from collections.abc import Iterable

import numpy as np

from gemopt.arrays import Ints


class Shares:
    """Counts of one recording, rank by rank.

    Attributes
    ----------
    number
        Ranks so far.
    first
        Counts of the first rank, int64.
    """

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.number, self.same = 0, True
        self.first = np.zeros(0, np.int64)
        self._total = self.first

    def add(self, counts: Ints) -> None:
        """Add a rank's counts, of the shape of the others'."""
        if not self.number:
            self.first = self._total = counts
        else:
            self.same = self.same and np.array_equal(counts, self.first)
            self._total = self._total + counts
        self.number += 1

    def together(self) -> Ints:
        """Sum of the ranks; the first alone, and a note, if all recorded the same."""
        if self.number > 1 and self.same and self.first.any():
            say_same(self.number, self.notes)
            return self.first
        return self._total


def same_on_all_ranks(shares: Iterable[Iterable[Ints]]) -> bool:
    """Whether two or more ranks recorded the same counts, not all zero.

    Parameters
    ----------
    shares
        Block by block, the counts of each rank, one or more; read only up to the first
        difference.
    """
    some = False
    for block in shares:
        ranks = iter(block)
        first, others = next(ranks), 0
        for each in ranks:
            if not np.array_equal(first, each):
                return False
            others += 1
        if not others:
            return False
        some = some or bool(first.any())
    return some


def say_same(ranks: int, notes: list[str]) -> None:
    """Note, once, that the counts of equal ranks are taken once."""
    note = (
        f"all {ranks} ranks recorded the same counts, so they are of the same tokens: "
        "they are taken once, not summed"
    )
    if note not in notes:
        notes.append(note)
