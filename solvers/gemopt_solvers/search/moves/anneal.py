"""Simulated annealing on the true objective."""

from typing import NamedTuple

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.moves.acceptance import allowance
from gemopt_solvers.search.moves.proposals import propose
from gemopt_solvers.search.state.latency import objective
from gemopt_solvers.search.state.state import Curves, Floats, Ints, Seats, State

DRAWS = 4  #: uniform random numbers of one proposal
GUIDED_PART = 0.5  #: of the proposals that start from a slow GPU


class Schedule(NamedTuple):
    """What is proposed and accepted."""

    upto: Floats  # [moves] rising shares of the proposals, the last one 1
    rule: int  # of `acceptance`
    hot: float  # us
    cold: float  # us


@kernel
def anneal(
    state: State,
    curves: Curves | None,
    schedule: Schedule,
    cost: float,
    draws: Floats,  # [proposals, DRAWS] uniform in 0..1
    patience: Floats,  # [proposals] standard exponential
    best: Ints,  # [slots] best row so far, updated
    lowest: float,
) -> tuple[float, float]:
    """Make one proposal for each row of `draws`, cooling from hot to cold.

    Returns
    -------
    tuple
        Cost of the present placement and of `best`, us.
    """
    slots, steps = state.seats.phy2log.shape[0], state.loads.tokens.shape[1]
    slot2gpu, single = np.empty(slots, dtype=np.int64), np.empty(steps)
    for g in range(state.times.latency.shape[0]):
        for s in range(state.seats.first[g], state.seats.first[g + 1]):
            slot2gpu[s] = g
    count = draws.shape[0]
    cooling = (schedule.cold / schedule.hot) ** (1.0 / max(count, 1))
    heat = schedule.hot
    for k in range(count):
        heat *= cooling
        slot = min(int(draws[k, 0] * slots), slots - 1)
        if draws[k, 2] < GUIDED_PART:
            step = min(int(draws[k, 3] * steps), steps - 1)
            slow = state.times.top_gpu[0, step]
            slot = _slot_of(state.seats, slow, draws[k, 0], slot)
        move = 0
        while draws[k, 2] > schedule.upto[move]:
            move += 1
        allowed = allowance(schedule.rule, heat, patience[k])
        cost = propose(
            move, state, curves, slot2gpu, slot, draws[k, 1], cost, allowed, single
        )
        if cost < lowest * (1.0 - 1e-7):
            lowest = cost
            for s in range(slots):
                best[s] = state.seats.phy2log[s]
    return objective(state.times), lowest


@kernel
def _slot_of(seats: Seats, gpu: int, draw: float, otherwise: int) -> int:
    """Return a random slot of a GPU; `otherwise` where it has none."""
    width = seats.first[gpu + 1] - seats.first[gpu]
    if width == 0:
        return otherwise
    return seats.first[gpu] + min(int(draw * width), width - 1)
