"""Ids that stand for no expert in arrays of the experts of each token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints

Ids = NDArray[np.integer]


@dataclass
class Absent:
    """How much was left out so far, for remarks at the end.

    Attributes
    ----------
    tokens
        Tokens without any expert: padding.
    choices
        Choices of other tokens that name no expert.
    ids
        The ids that stood for it.
    """

    tokens: int
    choices: int
    ids: set[int]

    def add(self, other: "Absent") -> None:
        """Add what was left out of another file."""
        self.tokens += other.tokens
        self.choices += other.choices
        self.ids |= other.ids

    def notes(self) -> list[str]:
        """Remarks for people; none if nothing was left out."""
        ids = ", ".join(map(str, sorted(self.ids)))
        notes = []
        if self.tokens:
            notes.append(f"{self.tokens} tokens of padding left out (id {ids})")
        if self.choices:
            notes.append(
                f"{self.choices} choices of other tokens name no expert and count "
                f"nowhere (id {ids})"
            )
        return notes


def absent_choices(
    ids: Ids, experts: int | None, padding_id: int | None
) -> NDArray[np.bool_]:
    """Find the choices that name no expert.

    They are ids below 0; `padding_id`; the one value of all tokens that name the same
    id everywhere, which top-k routing never does for k > 1; the one value beyond the
    experts, if it fills whole layers of tokens; and the zeros of dense layers, where
    every token has nothing else (k > 1).

    Parameters
    ----------
    ids
        Expert ids, whole numbers ``[tokens, layers, top_k]``, not empty.
    experts
        Experts of a layer, if known.
    padding_id
        Another id that stands for no expert.

    Returns
    -------
    numpy.ndarray
        bool, the shape of `ids`.
    """
    absent: NDArray[np.bool_] = ids < 0
    if padding_id is not None:
        absent |= ids == padding_id
    several = ids.shape[2] > 1
    uniform = (ids == ids[:, :, :1]).all(axis=2)  # of one token in one layer
    if experts is not None:
        beyond = (ids >= experts) & ~absent
        if len(np.unique(ids[beyond])) == 1 and uniform[beyond.any(axis=2)].all():
            absent |= beyond
    same = (ids == ids[:, :1, :1]).all(axis=(1, 2)) & ~absent.all(axis=(1, 2))
    values = np.unique(ids[same, 0, 0])
    if several and len(values) == 1:
        absent[same] = True
    largest = np.iinfo(ids.dtype).max  # what -1 becomes without a sign
    if ids[0].size > 1 and (experts is None or experts <= largest):
        absent |= (ids == largest).all(axis=(1, 2))[:, None, None]
    if several:
        dense = ((ids == 0) | absent).all(axis=(0, 2))
        absent[:, dense] = True
    return absent


def without_padding(
    ids: Ids, offsets: Ints, absent: NDArray[np.bool_], experts: int, seen: Absent
) -> tuple[Ids, Ints]:
    """Take tokens of padding out; other absent choices get the id `experts`.

    Parameters
    ----------
    ids, absent
        As in `absent_choices`.
    offsets
        First token of each request, int64 ``[requests + 1]``.
    experts
        Experts of a layer.
    seen
        Is told what was left out.
    """
    if not absent.any():
        return ids, offsets
    kept = ~absent.all(axis=(1, 2))
    dense = absent.all(axis=(0, 2))  # these have a remark of their own
    some = absent[kept][:, ~dense]
    seen.tokens += int((~kept).sum())
    seen.choices += int(some.sum())
    seen.ids |= set(np.unique(ids[:, ~dense][absent[:, ~dense]]).tolist())
    ranks = np.concatenate([[0], np.cumsum(kept)])
    named = np.where(absent[kept], experts, ids[kept].astype(np.int64))
    return named, ranks[offsets]
