"""Every set of experts on every GPU, and what the GPUs still to fill need at least."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.model.gpu_classes import GpuClasses
from gemopt.model.instance import Instance

MAX_KEYS = 2.0**22  #: things that can be left to place
MAX_CHOICES = 100_000  #: of the numbers of copies
MAX_WORK = 1e13  #: comparisons; a core does some 5e9 a second
MAX_CELLS = 6e7  #: numbers in the table of least times, half a GB
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sets:
    """All sets of experts that fit some GPU.

    Attributes
    ----------
    of_mask
        Number of a set by its bits, int32 ``[2**experts]``; -1 for other sizes.
    member
        Experts of each set, int64 ``[sets, slots]``, -1 behind the last. Sets of one
        size lie in lexicographic order.
    first
        Number of the first set of each size.
    """

    of_mask: NDArray[np.int32]
    member: Ints
    first: dict[int, int]

    @classmethod
    def of(cls, experts: int, sizes: set[int]) -> Sets:
        """List the sets of these sizes."""
        of_mask = np.full(1 << experts, -1, dtype=np.int32)
        bit = 1 << np.arange(experts)
        rows, first, begin = [], {}, 0
        for size in sorted(sizes):
            held = np.array(list(combinations(range(experts), size)), dtype=np.int64)
            of_mask[bit[held].sum(axis=1)] = begin + np.arange(len(held))
            spare = ((0, 0), (0, max(sizes) - size))
            rows.append(np.pad(held, spare, constant_values=-1))
            first[size] = begin
            begin += len(held)
        return cls(of_mask, np.concatenate(rows), first)


@dataclass(frozen=True)
class Levels:
    """GPUs in the order in which they are filled; those of a kind follow each other.

    Attributes
    ----------
    gpu, kind, size
        GPU, kind and slots of each level, int64 ``[levels]``; GPUs without slots are
        left out.
    same, alike
        Whether the level before, and whether all levels to come, are of the same kind.
    """

    gpu: Ints
    kind: Ints
    size: Ints
    same: Bools
    alike: Bools

    @classmethod
    def of(cls, kinds: GpuClasses, slots: Ints, speed: Floats) -> Levels:
        """Fastest kind first, by its mean latency: slow GPUs left decide early."""
        rank = np.lexsort((kinds.of_gpu, speed[kinds.of_gpu]))
        gpu = rank[slots[rank] > 0]
        kind = kinds.of_gpu[gpu]
        same = np.concatenate([[False], kind[1:] == kind[:-1]])
        return cls(gpu, kind, slots[gpu], same, kind == kind[-1])


@dataclass(frozen=True)
class States:
    """All that can be left to place, level after level, without replicas.

    A state is a set of experts; its key has their bits. State 0 has nothing left,
    state 1 has all.

    Attributes
    ----------
    key, left
        Key, and whether each expert is left, of every state.
    where
        State of a key, int32; -1 where no placement passes.
    first
        First state of each level, int64 ``[levels + 1]``.
    """

    key: Ints
    left: NDArray[np.int8]
    where: NDArray[np.int32]
    first: Ints

    @classmethod
    def of(cls, experts: int, sizes: Ints) -> States:
        """List the states for GPUs of these sizes."""
        bits = (np.arange(1 << experts)[:, None] >> np.arange(experts)) & 1
        total = bits.sum(axis=1)
        parts, left = [np.zeros(1, dtype=np.int64)], experts
        for size in sizes.tolist():
            parts.append(np.flatnonzero(total == left))
            left -= size
        key = np.concatenate(parts)
        where = np.full(len(total), -1, dtype=np.int32)
        where[key] = np.arange(len(key))
        first = np.cumsum([len(part) for part in parts])
        return cls(key, bits[key].astype(np.int8), where, first)


def table_size(instance: Instance) -> tuple[float, float]:
    """About how many comparisons a layer takes, and numbers in its tables.

    Both are inf where the things that can be left to place are too many to number. With
    spare slots, most numbers of copies are never looked at: about their square root is
    (measured up to 75 582, docs/exact.md).
    """
    experts = instance.num_experts
    spare = instance.num_slots - experts
    copies = 1 + np.bincount(np.arange(spare) % experts, minlength=experts)
    choices = comb(experts + spare - 1, spare)
    if np.prod(copies + 1.0) > MAX_KEYS or choices > MAX_CHOICES:
        return np.inf, np.inf
    ways = np.ones(1)  # of leaving so many copies to place
    for many in copies.tolist():
        ways = np.convolve(ways, np.ones(many + 1))
    kinds, left = instance.classes, instance.num_slots
    columns = sum(  # sets of experts, and how the spare copies may fall on them
        comb(experts, size) * comb(size + spare, spare) for size in kinds.slots.tolist()
    )
    rows, pairs = columns, 0.0
    for size in np.sort(instance.slots)[::-1].tolist():
        rows += ways[left]
        pairs += ways[left] * comb(min(left, experts), size)
        left -= size
    steps = instance.num_steps
    return pairs * steps * choices**0.5, float(rows * steps)


def too_large(instance: Instance) -> str | None:
    """Why the tables of a layer are out of reach, with their size; None if not."""
    if instance.comm is not None:
        return "it has communication, which sets of experts leave out"
    work, cells = table_size(instance)
    if work > MAX_WORK or cells > MAX_CELLS:
        return (
            f"a layer needs about {work:.1e} comparisons in tables of {cells:.1e} "
            f"numbers, more than {MAX_WORK:.0e} or {MAX_CELLS:.0e}; use cpsat or search"
        )
    return None
