"""What annealing may propose for a slot, one function a move.

A move is a number that `Anneal` names with its share of the proposals; to add one,
write its function and give it the next number in `propose`. Every move returns the
objective afterwards, which is `cost` itself where nothing was changed.
"""

# Inlined into `anneal`: many proposals end at once, and a call would copy the state's
# arrays for each of them (a quarter of the time of a solve).

from gemopt.jit import inlined, kernel
from gemopt_solvers.search.moves.exchange import exchange
from gemopt_solvers.search.moves.give_slot import give_slot
from gemopt_solvers.search.state.latency import (
    exchange_cost,
    objective,
    refresh_top,
    rest_into,
)
from gemopt_solvers.search.state.state import Curves, Floats, Ints, State

EXCHANGE = 0  #: with any other slot
GIVE_SLOT = 1  #: the slot goes to another expert; only where there are copies


@inlined
def propose(
    move: int, state: State, curves: Curves | None, slot2gpu: Ints, slot: int,
    draw: float, cost: float, allowed: float, single: Floats,
) -> float:  # fmt: skip
    """Try a move of `slot`; make it if it costs at most `allowed` us more.

    `draw` in 0..1 chooses the partner; `single` is scratch ``[steps]``.
    """
    if move == GIVE_SLOT:
        gpu = slot2gpu[slot]
        return _give(state, curves, gpu, slot, draw, cost, allowed, single)
    return _exchange(state, curves, slot2gpu, slot, draw, cost, allowed)


@inlined
def _exchange(
    state: State, curves: Curves | None, slot2gpu: Ints, slot: int, draw: float,
    cost: float, allowed: float,
) -> float:  # fmt: skip
    phy2log, held, slots = state.seats.phy2log, state.seats.held, slot2gpu.shape[0]
    other = min(int(draw * slots), slots - 1)
    a, b, e, f = slot2gpu[slot], slot2gpu[other], phy2log[slot], phy2log[other]
    if a == b or held[e, b] or held[f, a]:
        return cost
    rest_into(state.times, a, b)
    trial = float(exchange_cost(state, curves, a, b, e, f))
    if trial - cost > allowed:
        return cost
    exchange(state, curves, slot, other, a, b)
    refresh_top(state.times)
    return trial


@kernel
def _give(
    state: State, curves: Curves | None, gpu: int, slot: int, draw: float, cost: float,
    allowed: float, single: Floats,
) -> float:  # fmt: skip
    seats, old = state.seats, state.seats.phy2log[slot]
    experts = seats.replicas.shape[0]
    new = min(int(draw * experts), experts - 1)
    if seats.replicas[old] < 2 or seats.held[new, gpu]:
        return cost
    give_slot(state, curves, slot, gpu, new, single)
    refresh_top(state.times)
    trial = objective(state.times)
    if trial - cost > allowed:
        give_slot(state, curves, slot, gpu, old, single)
        refresh_top(state.times)
        return cost
    return trial
