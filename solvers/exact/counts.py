"""Branch and bound over the numbers of copies of experts, heaviest expert first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gemopt.model import Ints
from solvers.exact.columns import Columns
from solvers.exact.count_kernels import (
    cheapest,
    groups_into,
    least_into,
    narrow,
    states_of,
)
from solvers.exact.sets import Levels

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]
_NODES = 20_000  #: looked at below a node whose copies are not all decided


@dataclass(frozen=True)
class Node:
    """Copies of the heaviest experts, and what they leave.

    Attributes
    ----------
    copies
        Of each decided expert.
    bound
        No placement with these copies costs less than this or the limit, us.
    columns
        Columns that may be in such a placement, int32.
    low
        Bound of every step, us ``[steps]``.
    """

    copies: tuple[int, ...]
    bound: float
    columns: Indices
    low: Floats


class CountTree:
    """Every way to choose the numbers of copies, cut by bounds of partial decisions.

    The copies of one expert after the other are decided, the most promising partial
    decision first. It keeps only the columns that a placement below the limit may
    have: those that agree with it, and whose time, with what every step takes at
    least, stays below the limit. GPUs are then filled one after the other with the
    *decided* experts of a column alone, at the least time of the columns that agree
    on them; undecided experts are wherever they disturb least. A table holds the least
    time of each step for all that can be left to place, and a search by it gives the
    bound; once all copies are decided, it gives the cheapest placement.

    Attributes
    ----------
    bound
        No placement costs less than this or the limit, us.
    """

    def __init__(
        self, columns: Columns, levels: Levels, slots: int, limit: Floats, halt: Ints
    ) -> None:
        self.columns, self.levels = columns, levels
        self.limit, self.halt = limit, halt
        self.experts = columns.copies.shape[1]
        self.spare = slots - self.experts
        self._most = min(len(levels.gpu), self.spare + 1)
        self._where = np.full(1, -1, dtype=np.int32)
        self._kinds = int(levels.kind.max()) + 1
        self._filled = np.bincount(levels.kind, minlength=self._kinds)
        self.bound = 0.0

    def placements(self, low: Floats) -> Iterator[Indices]:
        """Yield columns of each level of placements below `limit`, to be lowered.

        Best first; ends when no better one exists, or when `halt` is set.
        """
        every = np.arange(len(self.columns.kind), dtype=np.int32)
        root = self._narrowed((), every, low, float(low.sum()))
        heap = [] if root is None else [(root.bound, 0, root)]
        count = 1
        while heap:
            self.bound, _, node = heapq.heappop(heap)
            if self.bound >= self.limit[0]:
                break
            if len(node.copies) == self.experts:
                _, columns = self._cheapest(node, np.iinfo(np.int64).max)
                if len(columns) > 0:
                    yield columns
            else:
                for child in self._children(node):
                    heapq.heappush(heap, (child.bound, count, child))
                    count += 1
            if self.halt[0]:
                return
        self.bound = np.inf

    def _children(self, node: Node) -> list[Node]:
        """Decide the copies of the next expert."""
        left = self.spare + len(node.copies) - sum(node.copies)
        behind = self.experts - len(node.copies) - 1
        found = []
        for more in range(min(left, self._most - 1) + 1):
            rest = left - more
            if rest > behind * (self._most - 1):
                continue
            copies = (*node.copies, 1 + more)
            if rest == 0:
                copies = (*copies, *[1] * behind)
            child = self._narrowed(copies, node.columns, node.low, node.bound)
            if child is not None and len(copies) < self.experts:
                child = self._bounded(child)
            if child is not None:
                found.append(child)
        return found

    def _narrowed(
        self, copies: tuple[int, ...], columns: Indices, low: Floats, bound: float
    ) -> Node | None:
        """Drop what is of no use once these copies are decided; None if all is."""
        every, low = self.columns, low.copy()
        out = np.empty_like(columns)
        decided = np.array(copies, dtype=np.int64)
        many = narrow(
            columns,
            decided,
            self.spare - int((decided - 1).sum()),
            every.kind,
            self._filled,
            every.copies,
            every.time,
            float(self.limit[0]),
            low,
            out,
        )
        if many < 0:
            return None
        return Node(copies, max(bound, float(low.sum())), out[:many].copy(), low)

    def _bounded(self, node: Node) -> Node | None:
        """Raise the bound of a node; None if nothing below it is of use."""
        bound, _ = self._cheapest(node, _NODES)
        if bound >= self.limit[0]:
            return None
        return replace(node, bound=max(node.bound, bound))

    def _cheapest(self, node: Node, most: int) -> tuple[float, Indices]:
        """Least total in the node's table, us, and columns of it if below the limit."""
        every, levels = self.columns, self.levels
        decided = np.array(node.copies, dtype=np.int64)
        first = np.empty(self._kinds + 1, dtype=np.int64)
        part = np.empty(len(node.columns), dtype=np.int64)
        column = np.empty(len(node.columns), dtype=np.int32)
        time = np.empty((len(node.columns), every.time.shape[1]))
        groups_into(
            node.columns,
            len(decided),
            every.kind,
            every.mask,
            every.time,
            first,
            part,
            column,
            time,
        )
        keys = int(np.prod(decided + 1))
        if keys > len(self._where):
            self._where = np.full(keys, -1, dtype=np.int32)
        undecided = self.spare + self.experts - int(decided.sum())
        begin, edge, child, group = states_of(
            decided,
            undecided,
            levels.kind,
            levels.size,
            levels.alike,
            first,
            part,
            self._where,
            self.halt,
        )
        alive = np.empty(begin[-1], dtype=np.bool_)
        least = np.empty((begin[-1], time.shape[1]))
        limit = float(self.limit[0])
        least_into(
            begin, edge, child, group, time, node.low, limit, self.halt, alive, least
        )
        best = np.full(len(levels.gpu), -1, dtype=np.int64)
        total = cheapest(
            levels.same,
            edge,
            child,
            group,
            time,
            alive,
            least,
            node.low,
            limit,
            most,
            self.halt,
            best,
        )
        if best[0] < 0:
            return total, column[:0]
        return total, column[best]
