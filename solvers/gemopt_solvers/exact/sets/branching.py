"""Branch and bound over sets of experts: one layer, small, any latency family."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Floats, Ints
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.cost.evaluate import evaluate
from gemopt.latency.tables import rows_of_steps
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt_solvers.exact.copies.columns import Columns
from gemopt_solvers.exact.copies.counts import CountTree
from gemopt_solvers.exact.rows.model import heavy_order
from gemopt_solvers.exact.sets.kernels import (
    descend,
    residual_into,
    root_bounds,
    set_latencies_into,
)
from gemopt_solvers.exact.sets.tables import Levels, Sets, States

Spread = Callable[[Callable[[int], None], list[int]], object]
#: A placement counts as better if it is by this share; far above rounding.
TOLERANCE = 1e-9
_FOUR = 4  #: the same for the search over copies
_LANES = 16  #: steps are filled up with zeros to a multiple of this


class Branching:
    """Search one layer to the end, or until `halt` is set.

    GPUs are filled one after the other with whole sets of experts. For everything that
    can be left to place, a table holds the least time of each step on the GPUs still
    to fill, as if that step were the only one; a branch is left when the sum of
    ``max(filled GPUs, table)`` reaches the best known cost. With spare slots, the
    numbers of copies are branched over first, see `CountTree`. Latencies are read off
    the kernels that `gemopt.evaluate` uses, whatever their family.

    Attributes
    ----------
    row, cost
        Best placement known, expert by slot, and its cost in us.
    halt
        Set ``halt[0]`` to end.
    """

    def __init__(self, instance: Instance, layer: int, row: Ints) -> None:
        self.instance = one = instance.layer(layer)
        self.row = row
        self.cost = evaluate(one, Placement(row[None], one.slots)).objective
        self.halt = np.zeros(1, dtype=np.int64)
        self._limit = np.array([self.cost * (1.0 - TOLERANCE)])
        self._open: dict[object, float] = {"all": 0.0}
        self._lock = Lock()
        used = np.flatnonzero(one.weights > 0)
        self._used, self._weights = used, one.weights[used]
        order = heavy_order(one, 0)
        self._order = order
        self._loads = np.ascontiguousarray(one.loads[0][order][:, used])
        self._kinds = one.classes
        self._tables = self._kinds.tables
        self._row = rows_of_steps(self._tables, one.step_tokens[0][used])
        self._same = (self._row == self._row[:, :1]).all(axis=1)
        self._levels = Levels.of(self._kinds, one.slots, self._even_times(used))
        self._sets = Sets.of(one.num_experts, set(one.slots.tolist()))
        sizes = self._kinds.slots.tolist()
        self._first = np.array([self._sets.first[s] for s in sizes])
        width = (self._sets.member >= 0).sum(axis=1)
        self._count = np.array([int((width == s).sum()) for s in sizes])
        self._begin = np.concatenate([[0], np.cumsum(self._count)[:-1]])

    def _even_times(self, used: Ints) -> Floats:
        """Mean latency of every kind if all slots had the same load, us ``[kinds]``."""
        one, kinds = self.instance, self._kinds
        tokens = one.step_tokens[0][used]
        times = []
        for model, slots in zip(kinds.models, kinds.slots.tolist(), strict=True):
            even = np.repeat(tokens[:, None] / one.num_slots, slots, axis=1)
            times.append(float(model.us(even, tokens) @ self._weights))
        return np.array(times)

    @property
    def bound(self) -> float:
        """What is proven so far, us."""
        return min([self.cost * (1.0 - TOLERANCE), *list(self._open.values())])

    def run(self, jobs: int) -> None:
        """Search with `jobs` threads, or with one if there are spare slots."""
        one = self.instance
        if one.num_slots > one.num_experts:
            self._with_copies()
            return
        with ThreadPoolExecutor(jobs) as pool:
            self._one(lambda f, tasks: list(pool.map(f, tasks)))

    def _with_copies(self) -> None:
        """Search all numbers of copies."""
        tree, low = self.tree()
        if self.halt[0]:
            return  # columns are missing
        for chosen in tree.placements(low):
            self._keep([np.flatnonzero(tree.columns.copies[c]) for c in chosen])
            self._limit[0] = min(self._limit[0], self.cost * (1.0 - TOLERANCE))
            self._open = {"all": tree.bound}
        self._open = {"all": tree.bound}

    def tree(self) -> tuple[CountTree, Floats]:
        """All numbers of copies, and a bound of every step, weighted us ``[steps]``."""
        one, low = self.instance, self._low()
        columns = Columns.of(
            one, self._used, self._order, low, self._limit[0], self.halt
        )
        slots = one.num_slots
        return CountTree(columns, self._levels, slots, self._limit, self.halt), low

    def _low(self) -> Floats:
        """Bound of every step, weighted us, filled up with zeros."""
        used = self._used
        low = np.zeros(-(-len(used) // _FOUR) * _FOUR)
        floor = [
            model.us(np.zeros((len(used), 1)), self.instance.step_tokens[0][used])
            for model, slots in zip(self._kinds.models, self._kinds.slots, strict=True)
            if slots == 0
        ]
        filled = np.max([water_filling(self.instance)[0][used], *floor], axis=0)
        low[: len(used)] = np.maximum(filled, 0.0) * self._weights
        return low

    def _latency(self) -> Floats:
        """Weighted latency of every set on every kind, us ``[rows, steps]``."""
        steps = len(self._weights)
        out = np.zeros((int(self._count.sum()), -(-steps // _LANES) * _LANES))
        set_latencies_into(
            self._tables,
            self._row,
            self._same,
            self._first,
            self._count,
            self._sets.member,
            self._loads.astype(np.float64),
            self._weights,
            out,
        )
        return out

    def _floor(self, latency: Floats) -> Floats:
        """Time of GPUs without slots, us ``[steps]``."""
        empty = self._begin[self._kinds.slots == 0]
        return np.asarray(latency[empty].max(axis=0, initial=0.0))

    def _one(
        self, spread: Callable[[Callable[[int], None], list[int]], object]
    ) -> None:
        """Search without copies; `spread` maps over the sets of the first GPU."""
        table = _Table(self)
        if self.halt[0]:
            return
        bounds = table.bounds
        order = np.argsort(bounds, kind="stable").tolist()
        self._open = {i: bounds[i] for i in order}

        def search(child: int) -> None:
            if bounds[child] < self._limit[0]:
                table.descend(child)
            if not self.halt[0]:
                self._open.pop(child, None)

        spread(search, order)

    def found(self, taken: Ints) -> None:
        """Keep a placement, given as the sets of each level, if it is better."""
        member = self._sets.member
        self._keep([member[own][member[own] >= 0] for own in taken])

    def _keep(self, experts: list[Ints]) -> None:
        """Keep a placement, given as the experts of each level, if it is better."""
        one = self.instance
        held: list[Ints] = [np.empty(0, dtype=np.int64)] * one.num_gpus
        for gpu, own in zip(self._levels.gpu, experts, strict=True):
            held[gpu] = np.sort(self._order[own])
        row = np.concatenate(held)
        cost = evaluate(one, Placement(row[None], one.slots)).objective
        with self._lock:
            if cost < self.cost:
                self.row, self.cost = row, cost


class _Table:
    """Least times of all that can be left to place, and the search that reads them."""

    def __init__(self, search: Branching) -> None:
        self.search = search
        levels, sets = search._levels, search._sets
        self.latency = search._latency()
        self.floor = search._floor(self.latency)
        self.states = states = States.of(search.instance.num_experts, levels.size)
        masks = np.flatnonzero(sets.of_mask >= 0)
        self.set_key = masks[np.argsort(sets.of_mask[masks])]
        self.first_row = (search._begin - search._first)[levels.kind]
        self.least = np.zeros((len(states.key), self.latency.shape[1]))
        for level in range(len(levels.gpu) - 1, -1, -1):
            residual_into(
                int(states.first[level]),
                int(states.first[level + 1]),
                states.key,
                states.left,
                states.where,
                int(levels.size[level]),
                bool(levels.alike[level]),
                self.latency,
                int(self.first_row[level]),
                sets.of_mask,
                self.set_key,
                search.halt,
                self.least,
            )
        self.bounds = self._root_bounds()

    def _root_bounds(self) -> NDArray[np.float64]:
        """What every set of the first GPU costs at least; inf where none may be."""
        levels, states = self.search._levels, self.states
        first, width = self.search._sets.first, int(levels.size[0])
        members = self.search._sets.member
        own = np.flatnonzero((members >= 0).sum(axis=1) == width)
        held = members[own][:, :width]
        state = states.where[np.maximum(states.key[1] - self.set_key[own], 0)]
        fits = (state >= 0) & (states.left[1][held] > 0).all(axis=1)
        if levels.alike[0]:
            fits &= held[:, 0] == 0
        bounds = np.full(first[width] + len(own), np.inf)
        some = np.empty(int(fits.sum()))
        root_bounds(
            self.floor,
            int(self.first_row[0]),
            self.latency,
            own[fits],
            state[fits],
            self.least,
            some,
        )
        bounds[own[fits]] = some
        return bounds

    def descend(self, child: int) -> None:
        """Search below one set of the first GPU."""
        search, levels, states = self.search, self.search._levels, self.states
        best = np.full(len(levels.gpu), -1, dtype=np.int64)
        descend(
            child,
            np.stack([levels.size, self.first_row, levels.same, levels.alike], axis=1),
            self.latency,
            search._sets.of_mask,
            self.set_key,
            states.key,
            states.left,
            states.where,
            self.least,
            self.floor,
            TOLERANCE,
            search._limit,
            best,
            search.halt,
        )
        if best[0] >= 0:
            search.found(best)
