"""Simulated annealing on the true objective: exchanges and a few changes of copies."""

import numpy as np
from numpy.typing import NDArray

from gemopt.jit import inlined, kernel
from gemopt_solvers.search.moves.exchange import exchange
from gemopt_solvers.search.moves.give_slot import give_slot
from gemopt_solvers.search.state.latency import (
    curve_cost,
    line_cost,
    objective,
    refresh_top,
    rest_into,
)
from gemopt_solvers.search.state.state import Floats, Ints, Singles, State

DRAWS = 4  #: uniform random numbers of one proposal
COPY_PART = 0.03  #: of the proposals that change copies, where there are spare slots
GUIDED_PART = 0.5  #: of the proposals that start from a slow GPU


@kernel
def _line_trial(
    top: Singles, top_gpu: NDArray[np.int32], latency: Singles, a: int, b: int,
    scale_a: float, scale_b: float, load: Singles, sa: int, sb: int, out: int,
    into: int, weights: Singles, scratch: Singles,
) -> float:  # fmt: skip
    rest_into(top, top_gpu, a, b, scratch)
    return line_cost(
        latency, a, b, scale_a, scale_b, load, sa, sb, out, into, weights, scratch
    )


@inlined
def _trial(state: State, a: int, b: int, out: int, into: int) -> float:
    """Objective after `a` gave `out` to `b` for `into`, us."""
    if state.curved:
        rest_into(state.top, state.top_gpu, a, b, state.scratch)
        return curve_cost(state, a, b, out, into)
    return _line_trial(
        state.top, state.top_gpu, state.latency, a, b, state.scale[a], state.scale[b],
        state.load, state.stream[a], state.stream[b], out, into, state.weights,
        state.scratch,
    )  # fmt: skip


@kernel
def anneal(
    state: State,
    cost: float,
    hot: float,
    cold: float,
    draws: Floats,  # [proposals, DRAWS] uniform in 0..1
    patience: Floats,  # [proposals] standard exponential
    best: Ints,  # [slots] best row so far, updated
    lowest: float,
) -> tuple[float, float]:
    """Make one proposal for each row of `draws`, cooling from `hot` to `cold` us.

    Returns
    -------
    tuple
        Cost of the present placement and of `best`, us.
    """
    slots, gpus = state.phy2log.shape[0], state.latency.shape[0]
    steps = state.tokens.shape[1]
    slot2gpu = np.empty(slots, dtype=np.int64)
    for g in range(gpus):
        slot2gpu[state.first[g] : state.first[g + 1]] = g
    single = np.empty(steps)
    spare = slots > state.replicas.shape[0]
    count = draws.shape[0]
    cooling = (cold / hot) ** (1.0 / max(count, 1))
    heat = hot
    for k in range(count):
        heat *= cooling
        i = min(int(draws[k, 0] * slots), slots - 1)
        if draws[k, 2] < GUIDED_PART:
            slow = state.top_gpu[0, min(int(draws[k, 3] * steps), steps - 1)]
            width = state.first[slow + 1] - state.first[slow]
            if width > 0:
                i = state.first[slow] + min(int(draws[k, 0] * width), width - 1)
        a, e = slot2gpu[i], state.phy2log[i]
        if spare and draws[k, 2] > 1.0 - COPY_PART:
            f = min(
                int(draws[k, 1] * state.replicas.shape[0]), state.replicas.shape[0] - 1
            )
            if state.replicas[e] < 2 or state.held[f, a]:
                continue
            give_slot(state, i, a, f, single)
            refresh_top(state)
            trial = objective(state)
            if trial - cost > heat * patience[k]:
                give_slot(state, i, a, e, single)
                refresh_top(state)
                continue
            cost = trial
        else:
            j = min(int(draws[k, 1] * slots), slots - 1)
            b, f = slot2gpu[j], state.phy2log[j]
            if a == b or state.held[e, b] or state.held[f, a]:
                continue
            trial = _trial(state, a, b, e, f)
            if trial - cost > heat * patience[k]:
                continue
            exchange(state, i, j, a, b)
            refresh_top(state)
            cost = trial
        if cost < lowest * (1.0 - 1e-7):
            lowest = cost
            best[:] = state.phy2log
    return objective(state), lowest
