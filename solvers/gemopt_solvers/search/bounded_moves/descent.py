"""Improve a placement by the changes that pay most for each slot they move."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.bounded_moves.slot_reassignments import (
    marginal_costs_into,
    margins_into,
    moved,
    rank_reassignments,
)
from gemopt_solvers.search.first.greedy import falling_order
from gemopt_solvers.search.moves.exchange import exchange, rank_pair
from gemopt_solvers.search.moves.give_slot import give_slot
from gemopt_solvers.search.state.latency import (
    exchange_cost,
    objective,
    refresh_all,
    refresh_top,
)
from gemopt_solvers.search.state.state import (
    Curves,
    Flags,
    Floats,
    Ints,
    Singles,
    State,
    Times,
)

TRIES = 4  #: exchanges of a pair of GPUs that are evaluated
REASSIGNED = 3  #: slots given to another expert that are evaluated


@kernel
def best_per_move_descent(
    state: State, curves: Curves | None, blur: float, least: float, move_us: float,
    most: int, old: Flags, tried: int, path: Ints, gains: Floats,
) -> int:  # fmt: skip
    """Change the placement again and again by what pays most for a moved slot.

    A change exchanges two slots, or gives one slot to another expert.

    Parameters
    ----------
    state, curves
        The layer, with latencies; `moment` is that of single copies and is used up.
    blur, least
        Softening of the local model, and least gain worth a change, us.
    move_us
        Price of a moved slot, us.
    most
        Most slots that may hold an expert that their GPU did not hold at the start.
    old
        What each GPU held at the start, bool ``[experts, gpus]``.
    tried
        Pairs of GPUs after which the best exchange found so far is good enough.
    path
        Changes made, written, int64 ``[changes, 4]``: slot, the other slot (-1 where
        the slot was given), the expert it takes, slots moved by then. Ends the descent
        when it is full.
    gains
        What each change gained, written, float64 ``[changes]`` us.

    Returns
    -------
    int
        Number of changes.
    """
    seats, times, load = state.seats, state.times, state.loads.load
    phy2log, moment = seats.phy2log, state.loads.moment
    gpus, steps = times.latency.shape
    experts, slots = seats.held.shape[0], phy2log.shape[0]
    used, streams_alike = state.loads.tokens.shape[1], curves is None
    order, keys = np.empty((TRIES, 2), dtype=np.int64), np.empty(TRIES)
    given, worth = np.empty((REASSIGNED, 3), dtype=np.int64), np.empty(REASSIGNED)
    margin = np.empty((gpus, experts), dtype=np.float32)
    marginal = np.empty((gpus, steps), dtype=np.float32)
    bound, single = np.empty((gpus, gpus)), np.empty(used)
    for e in range(experts):
        _scale_moment(moment, e, 1.0 / seats.replicas[e])
    cost, moves, done = refresh_all(state, curves), 0, 0
    while done < path.shape[0]:
        best, gain, slot, other, taken = 0.0, 0.0, -1, -1, -1
        if slots > experts:
            marginal_costs_into(times, blur, marginal)
            margins_into(times, load, used, marginal, margin)
            found = rank_reassignments(seats, margin, old, most - moves, given, worth)
            for k in range(found):
                i, a, f = given[k, 0], given[k, 1], given[k, 2]
                more = moved(phy2log, old, i, a, f)
                pays = cost - _reassigned_cost(state, curves, i, a, f, single)
                rate = (pays - move_us * more) / max(more, 1)
                if rate > best and (more <= 0 or pays > least):
                    best, gain, slot, other, taken = rate, pays, i, -1, f
        _gain_bounds_into(times, used, streams_alike, bound)
        pairs = _promising(bound, max(best, least))
        for at in range(len(pairs)):
            a, b = pairs[at] // gpus, pairs[at] % gpus
            if bound[a, b] <= max(best, least) or (at >= tried and slot >= 0):
                break
            found = rank_pair(state, a, b, blur, order, keys)
            for k in range(found):
                i, j = order[k, 0], order[k, 1]
                e, f = phy2log[i], phy2log[j]
                more = moved(phy2log, old, i, a, f)
                more += moved(phy2log, old, j, b, e)
                if more > most - moves:
                    continue
                pays = cost - exchange_cost(state, curves, a, b, e, f)
                rate = (pays - move_us * more) / max(more, 1)
                if rate > best and (more <= 0 or pays > least):
                    best, gain, slot, other, taken = rate, pays, i, j, f
        if slot < 0 or gain <= least:
            return done
        moves += _apply(state, curves, slot, other, taken, old, single)
        cost = objective(times)
        path[done, 0], path[done, 1] = slot, other
        path[done, 2], path[done, 3] = taken, moves
        gains[done] = gain
        done += 1
    return done


@kernel
def _apply(
    state: State, curves: Curves | None, slot: int, other: int, taken: int, old: Flags,
    single: Floats,
) -> int:  # fmt: skip
    """Make a change; return how many more slots differ from the start."""
    seats, moment = state.seats, state.loads.moment
    phy2log, replicas = seats.phy2log, seats.replicas
    a = _gpu_of(seats.first, slot)
    more = moved(phy2log, old, slot, a, taken)
    if other >= 0:
        b = _gpu_of(seats.first, other)
        more += moved(phy2log, old, other, b, phy2log[slot])
        exchange(state, curves, slot, other, a, b)
    else:
        given = phy2log[slot]
        before = replicas[given], replicas[taken]
        give_slot(state, curves, slot, a, taken, single)
        _scale_moment(moment, given, before[0] / replicas[given])
        _scale_moment(moment, taken, before[1] / replicas[taken])
    refresh_top(state.times)
    return more


@kernel
def _gpu_of(first: Ints, slot: int) -> int:
    gpu = 0
    while first[gpu + 1] <= slot:
        gpu += 1
    return gpu


@kernel
def _scale_moment(moment: Singles, expert: int, factor: float) -> None:
    by = np.float32(factor)
    for e in range(moment.shape[0]):
        moment[expert, e] *= by
    for e in range(moment.shape[0]):
        moment[e, expert] *= by


@kernel
def _gain_bounds_into(
    times: Times, steps: int, streams_alike: bool, bound: Floats
) -> None:
    """Write the most that an exchange of two GPUs can gain, us ``[gpus, gpus]``.

    Where one of them is slowest, a step can gain no more than down to the slowest of
    the others; where latencies are lines in the same loads, no more than down to
    where both take as long.
    """
    gpus = bound.shape[0]
    for a in range(gpus):
        for b in range(gpus):
            bound[a, b] = 0.0
    for t in range(steps):
        w = np.float64(times.weights[t])
        i, j = times.top_gpu[0, t], times.top_gpu[1, t]
        high = float(times.top[0, t])
        own = float(times.scale[i])
        for b in range(gpus):
            rest = times.top[2, t] if b == j else times.top[1, t]
            most = high - rest
            scale = float(times.scale[b])
            if streams_alike and times.stream[i] == times.stream[b]:
                gap = high - times.latency[b, t]
                level = gap * own / (own + scale) if own + scale > 0.0 else 0.0
                most = min(level, most)
            if b != i:
                bound[min(i, b), max(i, b)] += w * most


@kernel
def _promising(bound: Floats, floor: float) -> Ints:
    """Pairs that can gain more than `floor`, those that can gain most first."""
    gpus = bound.shape[0]
    pairs = np.empty(gpus * gpus, dtype=np.int64)
    found = 0
    for a in range(gpus):
        for b in range(a + 1, gpus):
            if bound[a, b] > floor:
                pairs[found] = a * gpus + b
                found += 1
    most = np.empty(found)
    for k in range(found):
        most[k] = bound[pairs[k] // gpus, pairs[k] % gpus]
    return pairs[:found][falling_order(most)]


@kernel
def _reassigned_cost(
    state: State, curves: Curves | None, slot: int, gpu: int, expert: int,
    single: Floats,
) -> float:  # fmt: skip
    """Objective after `slot` went to `expert`, us; the placement stays as it is."""
    given = state.seats.phy2log[slot]
    give_slot(state, curves, slot, gpu, expert, single)
    latency, weights = state.times.latency, state.times.weights
    total = np.float64(0.0)
    for t in range(latency.shape[1]):
        highest = latency[0, t]
        for g in range(1, latency.shape[0]):
            highest = max(highest, latency[g, t])
        total += np.float64(weights[t]) * np.float64(highest)
    give_slot(state, curves, slot, gpu, given, single)
    return total
