"""Branch and bound over sets of experts: one layer, small, any latency family."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gemopt.bounds.minorant import Kinds
from gemopt.evaluation import evaluate
from gemopt.kernels.sums import rows_into, shares_into
from gemopt.latency.tables import compile_tables
from gemopt.model import Floats, Instance, Ints, Placement
from solvers.exact.model import heavy_order
from solvers.exact.set_kernels import (
    descend,
    heaviest_copy,
    residual_into,
    root_bounds,
    set_latencies_into,
)
from solvers.exact.sets import Levels, Sets, States, replica_counts

#: A placement counts as better if it is by this share; far above rounding.
TOLERANCE = 1e-9
_LANES = 16  #: steps are filled up with zeros to a multiple of this


class Branching:
    """Search one layer to the end, or until `halt` is set.

    GPUs are filled one after the other with whole sets of experts. For everything that
    can be left to place, a table holds the least time of each step on the GPUs still
    to fill, as if that step were the only one; a branch is left when the sum of
    ``max(filled GPUs, table)`` reaches the best known cost. With spare slots, every
    way to choose the number of copies is a problem of its own. Latencies are read off
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
        self._weights = one.weights[used]
        order = heavy_order(one, 0)
        self._order = order
        self._loads = np.ascontiguousarray(one.loads[0][order][:, used])
        self._kinds = Kinds.of(one)
        self._tables = compile_tables(self._kinds.models)
        self._row = np.empty((len(self._kinds.models), len(used)), dtype=np.int64)
        self._same = np.empty(len(self._kinds.models), dtype=np.bool_)
        rows_into(self._tables, one.step_tokens[0][used], self._row, self._same)
        self._levels = Levels.of(self._kinds, one.slots, self._even_times(used))
        self._sets = Sets.of(one.num_experts, set(one.slots.tolist()))
        sizes = self._kinds.slots.tolist()
        self._first = np.array([self._sets.first[s] for s in sizes])
        width = (self._sets.member >= 0).sum(axis=1)
        self._count = np.array([int((width == s).sum()) for s in sizes])
        self._begin = np.concatenate([[0], np.cumsum(self._count)[:-1]])
        self._states: dict[bytes, States] = {}

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
        """Search with `jobs` threads."""
        one = self.instance
        gpus = len(self._levels.gpu)
        spare = one.num_slots - one.num_experts
        counts = replica_counts(one.num_experts, spare, gpus)
        with ThreadPoolExecutor(jobs) as pool:
            if len(counts) == 1:
                self._open = {bytes(counts[0]): 0.0}
                self._one(counts[0], lambda f, tasks: list(pool.map(f, tasks)))
                return
            bounds = list(pool.map(self._quick, counts))
            if self.halt[0]:
                return
            order = np.argsort(bounds, kind="stable").tolist()
            self._open = {bytes(counts[i]): bounds[i] for i in order}
            list(pool.map(self._one, [counts[i] for i in order]))

    def _latency(self, copies: Ints, rank: Ints) -> Floats:
        """Weighted latency of every set on every kind, us ``[rows, steps]``."""
        shares = np.empty(self._loads.shape)
        shares_into(self._loads[rank], copies[rank], shares)
        steps = len(self._weights)
        out = np.zeros((int(self._count.sum()), -(-steps // _LANES) * _LANES))
        set_latencies_into(
            self._tables,
            self._row,
            self._same,
            self._first,
            self._count,
            self._sets.member,
            shares,
            self._weights,
            out,
        )
        return out

    def _floor(self, latency: Floats) -> Floats:
        """Time of GPUs without slots, us ``[steps]``."""
        empty = self._begin[self._kinds.slots == 0]
        return np.asarray(latency[empty].max(axis=0, initial=0.0))

    def _quick(self, copies: Ints) -> float:
        """Bound one choice of copies without its table."""
        if self.halt[0]:
            return 0.0
        latency = self._latency(copies, np.argsort(-copies, kind="stable"))
        return heaviest_copy(
            self._sets.member, self._first, self._count, latency, self._floor(latency)
        )

    def _one(
        self,
        copies: Ints,
        spread: Callable[[Callable[[int], None], list[int]], object] | None = None,
    ) -> None:
        """Search one choice of copies; `spread` maps over the sets of the first GPU."""
        name = bytes(copies)
        if self.halt[0]:
            return
        if self._open.get(name, 0.0) < self._limit[0]:
            # Experts by falling copies: choices that are alike then share their states.
            rank = np.argsort(-copies, kind="stable")
            table = _Table(self, copies, rank)
            if self.halt[0]:
                return
            bounds = table.bounds
            order = np.argsort(bounds, kind="stable").tolist()
            if spread is not None:
                self._open = {i: bounds[i] for i in order}

            def search(child: int) -> None:
                if bounds[child] < self._limit[0]:
                    table.descend(child)
                if not self.halt[0]:
                    self._open.pop(child, None)

            if spread is not None:
                spread(search, order)
            else:
                for child in order:
                    search(child)
        if not self.halt[0]:
            self._open.pop(name, None)

    def states(self, copies: Ints) -> States:
        """States of copies in falling order, made once."""
        name = bytes(copies)
        if name not in self._states:
            self._states[name] = States.of(copies, self._levels.size)
        return self._states[name]

    def found(self, taken: Ints, rank: Ints) -> None:
        """Keep a placement, given as the sets of each level, if it is better."""
        one = self.instance
        held: list[Ints] = [np.empty(0, dtype=np.int64)] * one.num_gpus
        for gpu, own in zip(self._levels.gpu, taken, strict=True):
            member = self._sets.member[own]
            held[gpu] = np.sort(self._order[rank[member[member >= 0]]])
        row = np.concatenate(held)
        cost = evaluate(one, Placement(row[None], one.slots)).objective
        with self._lock:
            if cost < self.cost:
                self.row, self.cost = row, cost


class _Table:
    """Least times of one choice of copies, and the search that reads them."""

    def __init__(self, search: Branching, copies: Ints, rank: Ints) -> None:
        self.search, self.rank = search, rank
        levels, sets = search._levels, search._sets
        self.latency = search._latency(copies, rank)
        self.floor = search._floor(self.latency)
        self.states = states = search.states(copies[rank])
        member = sets.member
        self.set_key = np.append(states.stride, 0)[member].sum(axis=1)
        self.first_row = (search._begin - search._first)[levels.kind]
        self.least = np.zeros((len(states.key), self.latency.shape[1]))
        for level in range(len(levels.gpu) - 1, -1, -1):
            residual_into(
                int(states.first[level]),
                int(states.first[level + 1]),
                states.key,
                states.digits,
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
        fits = (state >= 0) & (states.digits[1][held] > 0).all(axis=1)
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
            states.digits,
            states.where,
            self.least,
            self.floor,
            TOLERANCE,
            search._limit,
            best,
            search.halt,
        )
        if best[0] >= 0:
            search.found(best, self.rank)
