"""Change a placement of many layers by a limited number of moves, where they pay."""

from __future__ import annotations

import heapq

import numpy as np

from gemopt.arrays import Floats, Ints, frozen
from gemopt.jit import kernel
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt_solvers.search.bounded_moves.descent import best_per_move_descent
from gemopt_solvers.search.first.construct import BLUR, LEAST
from gemopt_solvers.search.layer import adopt
from gemopt_solvers.search.state.additive_terms import additive_terms
from gemopt_solvers.search.state.build import fine_state
from gemopt_solvers.search.state.latency import refresh_all
from gemopt_solvers.search.state.moments import moments_into
from gemopt_solvers.search.state.refresh_loads import refresh_loads
from gemopt_solvers.search.state.state import Curves, State
from gemopt_solvers.search.state.surrogate import surrogate_lines

#: A layer may use this many times its even share of the moves.
SHARES = 2
TRIED = 4  #: pairs of GPUs, for each change


def spend_moves(instance: Instance, start: Placement, moves: int) -> Ints:
    """Improve `start` with a number of moves for all layers together.

    Every layer is improved change by change; of all those sequences the beginnings
    are kept that gain most for each moved slot. One kernel call without the GIL.

    Parameters
    ----------
    instance
        Latencies must not depend on the tokens of a step (no `Regimes`).
    start
        Placement now.
    moves
        Most slots, of all layers, that take an expert new to their GPU.

    Returns
    -------
    numpy.ndarray
        Expert of each slot, int64 ``[layers, slots]``; what stays on a GPU may have
        another slot there.
    """
    layers, slots = start.phy2log.shape
    most = min(moves, SHARES * -(-moves // layers), slots)
    path = np.zeros((layers, most, 4), dtype=np.int64)
    gains = np.zeros((layers, most))
    made = np.zeros(layers, dtype=np.int64)
    terms = additive_terms(instance, 0)
    _, scale, mix = surrogate_lines(instance, 0, terms)
    state, curves = fine_state(instance, 0, terms, scale, mix)
    tokens = np.empty(instance.loads[0].shape, dtype=np.int64)
    state = state._replace(loads=state.loads._replace(tokens=frozen(tokens.view())))
    _improve_layers(
        state, curves, tokens, instance.loads, start.phy2log, most, path, gains, made
    )
    rows = start.phy2log.copy()
    for layer, count in enumerate(_shares(path[..., 3], gains, made, moves)):
        for slot, other, expert, _ in path[layer, :count].tolist():
            if other >= 0:
                rows[layer, other] = rows[layer, slot]
            rows[layer, slot] = expert
    return rows


@kernel
def _improve_layers(
    state: State, curves: Curves | None, tokens: Ints, loads: Ints, rows: Ints,
    most: int, path: Ints, gains: Floats, made: Ints,
) -> None:  # fmt: skip
    """Improve each layer; `tokens` is what `state` reads as its tokens."""
    seats, times = state.seats, state.times
    experts, steps = state.loads.load.shape[1], times.weights.shape[0]
    turned = np.empty((steps, experts), dtype=np.float32)
    total = 0.0
    for t in range(steps):
        total += times.weights[t]
    for layer in range(rows.shape[0]):
        for e in range(experts):
            seats.replicas[e] = 1
            for t in range(tokens.shape[1]):
                tokens[e, t] = loads[layer, e, t]
        refresh_loads(state.loads, seats.replicas)
        moments_into(state.loads.load[0], times.weights, state.loads.moment, turned)
        adopt(seats, rows[layer])
        refresh_loads(state.loads, seats.replicas)
        cost = refresh_all(state, curves)
        made[layer] = best_per_move_descent(
            state, curves, BLUR * cost / total, LEAST * cost, 0.0, most,
            seats.held.copy(), TRIED, path[layer], gains[layer],
        )  # fmt: skip


def _shares(moved: Ints, gains: Floats, made: Ints, moves: int) -> list[int]:
    """Number of changes that each layer keeps: what gains most for a move first.

    Parameters
    ----------
    moved
        Slots moved by then, int64 ``[layers, changes]``.
    gains
        Gain of each change in us, float64 ``[layers, changes]``.
    made
        Changes of each layer, int64 ``[layers]``.
    moves
        Most moves of all layers.
    """
    kept, left = [0] * len(made), moves
    total = [np.cumsum(gains[layer, :n]) for layer, n in enumerate(made.tolist())]

    def best(layer: int) -> tuple[float, int, int, int] | None:
        """Rate, layer, changes and moves of the best stretch to add, if it fits."""
        done = kept[layer]
        had, won = (0, 0.0) if done == 0 else (
            int(moved[layer, done - 1]), float(total[layer][done - 1])
        )  # fmt: skip
        more = moved[layer, done : made[layer]] - had
        rate = np.where(
            more <= left, (total[layer][done:] - won) / np.maximum(more, 1), -1.0
        )
        if not len(rate) or rate.max() <= 0.0:
            return None
        k = int(rate.argmax())
        return -float(rate[k]), layer, done + k + 1, int(more[k])

    queue = [found for layer in range(len(made)) if (found := best(layer))]
    heapq.heapify(queue)
    while queue:
        _, layer, upto, more = heapq.heappop(queue)
        if more <= left:
            left -= more
            kept[layer] = upto
        if (found := best(layer)) is not None:
            heapq.heappush(queue, found)
    return kept
