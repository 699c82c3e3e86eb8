"""Branch and bound over the numbers of copies of experts, heaviest expert first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt_solvers.exact.copies.columns import Columns
from gemopt_solvers.exact.copies.count_kernels import (
    cheapest,
    groups_into,
    least_into,
    narrow,
    states_of,
    useful_into,
)
from gemopt_solvers.exact.sets.tables import Levels

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]
_DIVE = 4  #: every so many nodes the search goes down to a placement at once
_NODES = 20_000  #: looked at in a table that does not tell all experts apart


@dataclass(frozen=True)
class Node:
    """Copies of the heaviest experts, and what they leave.

    Attributes
    ----------
    copies
        Of each decided expert.
    depth
        Experts that the table of the node tells apart.
    bound
        No placement with these copies costs less than this or the limit, us.
    columns
        Columns that may be in such a placement, int32.
    low
        Bound of every step, us ``[steps]``.
    """

    copies: tuple[int, ...]
    depth: int
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
        self.columns, self.levels, self.slots = columns, levels, slots
        self.limit, self.halt = limit, halt
        self.experts = columns.copies.shape[1]
        self.spare = slots - self.experts
        self.filled = np.bincount(levels.kind)
        self.bound = 0.0
        self._most = min(len(levels.gpu), self.spare + 1)
        self._keys = np.full(1, -1, dtype=np.int32)

    def keys(self, many: int) -> Indices:
        """Return at least `many` cells with -1, to be left so."""
        if many > len(self._keys):
            self._keys = np.full(many, -1, dtype=np.int32)
        return self._keys

    def placements(self, low: Floats) -> Iterator[Indices]:
        """Yield columns of each level of placements below `limit`, to be lowered.

        Best first; ends when no better one exists, or when `halt` is set.
        """
        root = self.root(low)
        heap = [] if root is None else [(root.bound, 0, root)]
        popped = pushed = 0
        while heap:
            self.bound, _, node = heapq.heappop(heap)
            if self.bound >= self.limit[0]:
                break
            dive = popped % _DIVE == 0
            popped += 1
            down: Node | None = node
            while down is not None and not self.halt[0]:
                if down.depth == self.experts:
                    _, columns = self.solve(down)
                    if len(columns) > 0:
                        yield columns
                    break
                found = sorted(self.children(down), key=lambda child: child.bound)
                down = found.pop(0) if dive and found else None
                for child in found:
                    pushed += 1
                    heapq.heappush(heap, (child.bound, pushed, child))
            if self.halt[0]:
                return
        self.bound = np.inf

    def root(self, low: Floats) -> Node | None:
        """Nothing is decided; None if no placement is below the limit."""
        every = np.arange(len(self.columns.kind), dtype=np.int32)
        return self._narrowed((), 0, every, low, float(low.sum()))

    def children(self, node: Node) -> list[Node]:
        """Decide the copies of the next expert, or tell one more expert apart."""
        depth = node.depth + 1
        found = []
        for copies in self._choices(node.copies):
            child = self._narrowed(copies, depth, node.columns, node.low, node.bound)
            if child is not None and depth < self.experts:
                child = self._bounded(child)
            if child is not None:
                found.append(child)
        return found

    def solve(self, node: Node) -> tuple[float, Indices]:
        """Cheapest placement of a node that tells all experts apart.

        Returns its cost in us and its column on each level; the limit and no columns if
        no placement is below the limit.
        """
        return _Table(self, node).cheapest(np.iinfo(np.int64).max)

    def _choices(self, copies: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Copies with those of one more expert; of all, once no spare slot is left."""
        left = self.spare + len(copies) - sum(copies)
        behind = self.experts - len(copies) - 1
        if behind < 0:
            return [copies]
        found = []
        for more in range(min(left, self._most - 1) + 1):
            if left == more:
                found.append((*copies, 1 + more, *[1] * behind))
            elif left - more <= behind * (self._most - 1):
                found.append((*copies, 1 + more))
        return found

    def _narrowed(
        self,
        copies: tuple[int, ...],
        depth: int,
        columns: Indices,
        low: Floats,
        bound: float,
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
            self.filled,
            every.copies,
            every.time,
            float(self.limit[0]),
            low,
            out,
        )
        if many < 0:
            return None
        return Node(copies, depth, max(bound, float(low.sum())), out[:many].copy(), low)

    def _bounded(self, node: Node) -> Node | None:
        """Raise the bound of a node, drop columns; None if nothing is of use."""
        table = _Table(self, node)
        bound, _ = table.cheapest(_NODES)
        if bound >= self.limit[0]:
            return None
        columns = node.columns[table.useful()]
        return replace(node, bound=max(node.bound, bound), columns=columns)


class _Table:
    """What filling GPUs with decided experts takes at least, of one node."""

    def __init__(self, tree: CountTree, node: Node) -> None:
        every, levels = tree.columns, tree.levels
        self._low, self._same, self._halt = node.low, levels.same, tree.halt
        self._limit = float(tree.limit[0])
        decided = np.array(node.copies[: node.depth], dtype=np.int64)
        many = len(node.columns)
        first = np.empty(len(tree.filled) + 1, dtype=np.int64)
        part = np.empty(many, dtype=np.int64)
        self._column, self._of = np.empty((2, many), dtype=np.int32)
        self._time = np.empty((many, every.time.shape[1]))
        groups_into(
            node.columns,
            len(decided),
            every.kind,
            every.mask,
            every.time,
            first,
            part,
            self._column,
            self._of,
            self._time,
        )
        self._links: tuple[Any, Any, Any]  # as `states_of` returns them
        begin, *links = states_of(
            decided,
            tree.slots - int(decided.sum()),
            levels.kind,
            levels.size,
            levels.alike,
            first,
            part,
            tree.keys(int(np.prod(decided + 1))),
            self._halt,
        )
        self._links = links[0], links[1], links[2]
        self._alive = np.empty(begin[-1], dtype=np.bool_)
        self._least = np.empty((begin[-1], self._time.shape[1]))
        least_into(
            begin,
            *self._links,
            self._time,
            self._low,
            self._limit,
            self._halt,
            self._alive,
            self._least,
        )

    def cheapest(self, most: int) -> tuple[float, Indices]:
        """Least total in us, and its columns, GPU after GPU, if below the limit."""
        best = np.full(len(self._same), -1, dtype=np.int64)
        total = cheapest(
            self._same,
            *self._links,
            self._time,
            self._alive,
            self._least,
            self._low,
            self._limit,
            most,
            self._halt,
            best,
        )
        return total, self._column[best] if best[0] >= 0 else self._column[:0]

    def useful(self) -> NDArray[np.bool_]:
        """Tell of each column of the node whether a choice below the limit has it."""
        useful = np.empty(len(self._time), dtype=np.bool_)
        useful_into(
            *self._links,
            self._time,
            self._alive,
            self._least,
            self._low,
            self._limit,
            useful,
        )
        return np.asarray(useful[self._of])
