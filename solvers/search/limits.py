"""A start placement that the answer must stay near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemopt.align import align
from gemopt.evaluation import evaluate
from gemopt.kernels.jit import kernel
from gemopt.model import Floats, Instance, Ints, Placement
from solvers.search.construct import BLUR, LEAST
from solvers.search.latency import curve_cost, line_cost, refresh_all, refresh_top
from solvers.search.layer import LayerSearch
from solvers.search.pairs import exchange, rank_pair
from solvers.search.presets import PRESETS
from solvers.search.state import Flags, State


@dataclass(frozen=True)
class MoveLimits:
    """How far the answer may be from `start`, layer by layer; see `SearchParams`."""

    instance: Instance
    start: Placement
    max_moves: int | None
    move_us: float
    min_gain: float

    @property
    def binding(self) -> bool:
        """Moves are limited or priced."""
        return self.max_moves is not None or self.move_us > 0.0

    def aligned(self, layer: int, row: Ints) -> Ints:
        """Reorder `row` at no cost so that few slots differ from the start."""
        instance = self.instance
        groups = instance.gpu2class * (int(instance.node.max()) + 1) + instance.node
        start = self.start.phy2log[layer][None]
        return align(start, row[None], instance.slots, groups=groups)[0]

    def moves(self, layer: int, row: Ints) -> int:
        """Slots of `row` that differ from the start."""
        return int((row != self.start.phy2log[layer]).sum())

    def price(self, layer: int, row: Ints, cost: float) -> float:
        """Cost of an aligned `row` with its moves, us; inf where it has too many."""
        moves = self.moves(layer, row)
        if self.max_moves is not None and moves > self.max_moves:
            return np.inf
        return cost + self.move_us * moves

    def near_row(self, layer: int) -> Ints:
        """Improve the start by the exchanges that pay most, within the limits."""
        search = LayerSearch(self.instance, layer, PRESETS["best"])
        search.statistics()
        search.load_row(self.start.phy2log[layer])
        state = search.fine
        most = self.instance.num_slots if self.max_moves is None else self.max_moves
        near_descent(
            state, BLUR * search.now / float(self.instance.weights.sum()),
            LEAST * search.now, self.move_us, most, state.held.copy(),
        )  # fmt: skip
        return self.aligned(layer, state.phy2log.copy())

    def cost(self, layer: int, row: Ints) -> float:
        """Objective of one layer, us."""
        placement = Placement(row[None], self.instance.slots)
        return evaluate(self.instance.layer(layer), placement).objective


@kernel
def near_descent(
    state: State, blur: float, least: float, move_us: float, most: int, old: Flags
) -> int:
    """Do the exchange that pays most, again and again; return the slots changed.

    `old` ``[experts, gpus]`` says what each GPU held at the start. What an exchange of
    each pair of GPUs pays is computed anew only after one of the two has changed.
    """
    gpus = state.latency.shape[0]
    order, keys = np.empty((8, 2), dtype=np.int64), np.empty(8)
    pays = np.full((gpus, gpus), -np.inf)
    chosen = np.zeros((gpus, gpus, 2), dtype=np.int64)
    stale = np.ones((gpus, gpus), dtype=np.bool_)
    moves, fresh = 0, True
    while True:
        cost = refresh_all(state)
        best_a, best_b, best = -1, -1, 0.0
        for a in range(gpus):
            for b in range(a + 1, gpus):
                if stale[a, b]:
                    pays[a, b] = _pays(
                        state, a, b, cost, blur, least, move_us, most - moves, old,
                        order, keys, chosen,
                    )  # fmt: skip
                    stale[a, b] = False
                if pays[a, b] > best:
                    best_a, best_b, best = a, b, pays[a, b]
        if best_a < 0:
            if fresh:
                return moves
            stale[:] = True  # the other GPUs' maxima have changed since: look again
            fresh = True
            continue
        fresh = False
        i, j = chosen[best_a, best_b]
        stale[best_a, best_b] = True
        now = _pays(
            state, best_a, best_b, cost, blur, least, move_us, most - moves, old,
            order, keys, chosen,
        )  # fmt: skip
        pays[best_a, best_b] = now
        stale[best_a, best_b] = False
        if now <= 0.0:
            continue
        i, j = chosen[best_a, best_b]
        moves += _extra(state, i, j, best_a, best_b, old)
        exchange(state, i, j, best_a, best_b)
        refresh_top(state)
        stale[best_a, :] = stale[:, best_a] = True
        stale[best_b, :] = stale[:, best_b] = True


@kernel
def _extra(state: State, i: int, j: int, a: int, b: int, old: Flags) -> int:
    """Slots that differ from the start after an exchange, less those before."""
    e, f = state.phy2log[i], state.phy2log[j]
    return (not old[f, a]) - (not old[e, a]) + (not old[e, b]) - (not old[f, b])


@kernel
def _pays(
    state: State, a: int, b: int, cost: float, blur: float, least: float,
    move_us: float, room: int, old: Flags, order: Ints, keys: Floats, chosen: Ints,
) -> float:  # fmt: skip
    """What the best exchange of a pair pays, us; writes its slots to `chosen`."""
    sa, sb = state.stream[a], state.stream[b]
    scale_a, scale_b = state.scale[a], state.scale[b]
    found = rank_pair(
        state.phy2log, state.first, state.held, a, b, state.latency, state.top,
        state.top_gpu, state.weights, state.load, sa, sb, scale_a, scale_b,
        state.moment, state.scratch, state.tilt, blur, order, keys,
    )  # fmt: skip
    best = 0.0
    for k in range(found):
        i, j = order[k, 0], order[k, 1]
        extra = _extra(state, i, j, a, b, old)
        if extra > room:
            continue
        e, f = state.phy2log[i], state.phy2log[j]
        if state.curved:
            trial = curve_cost(state, a, b, e, f)
        else:
            trial = line_cost(
                state.latency, a, b, scale_a, scale_b, state.load, sa, sb, e, f,
                state.weights, state.scratch,
            )  # fmt: skip
        pays = cost - trial - move_us * extra
        if pays > best and (extra <= 0 or cost - trial > least):
            best = pays
            chosen[a, b, 0], chosen[a, b, 1] = i, j
    return best if best > least else 0.0
