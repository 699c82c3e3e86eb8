"""Improve a placement by the changes that pay most for each slot they move."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.bounded_moves.slot_reassignments import (
    margins_into,
    moved,
    rank_gifts,
    tilts_into,
)
from gemopt_solvers.search.moves.exchange import exchange, rank_pair
from gemopt_solvers.search.moves.give_slot import give_slot
from gemopt_solvers.search.state.latency import (
    curve_cost,
    line_cost,
    objective,
    refresh_all,
    refresh_top,
)
from gemopt_solvers.search.state.state import Flags, Floats, Ints, State

TRIES = 4  #: exchanges of a pair of GPUs that are evaluated
GIFTS = 3  #: slots given to another expert that are evaluated


@kernel
def near_descent(
    state: State, blur: float, least: float, move_us: float, most: int, old: Flags,
    looks: int, path: Ints, gains: Floats,
) -> int:  # fmt: skip
    """Change the placement again and again by what pays most for a moved slot.

    A change exchanges two slots, or gives one slot to another expert.

    Parameters
    ----------
    state
        The layer, with latencies; `moment` is that of single copies and is used up.
    blur, least
        Softening of the local model, and least gain worth a change, us.
    move_us
        Price of a moved slot, us.
    most
        Most slots that may hold an expert that their GPU did not hold at the start.
    old
        What each GPU held at the start, bool ``[experts, gpus]``.
    looks
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
    gpus, steps = state.latency.shape
    experts, slots = state.held.shape[0], state.phy2log.shape[0]
    order, keys = np.empty((TRIES, 2), dtype=np.int64), np.empty(TRIES)
    gifts, worth = np.empty((GIFTS, 3), dtype=np.int64), np.empty(GIFTS)
    margin = np.empty((gpus, experts), dtype=np.float32)
    tilt = np.empty((gpus, steps), dtype=np.float32)
    reach, single = np.empty((gpus, gpus)), np.empty(state.tokens.shape[1])
    _share_moments(state)
    cost, moves, done = refresh_all(state), 0, 0
    while done < path.shape[0]:
        best, gain, slot, other, taken = 0.0, 0.0, -1, -1, -1
        if slots > experts:
            tilts_into(state, blur, tilt)
            margins_into(state, tilt, margin)
            found = rank_gifts(state, margin, old, most - moves, gifts, worth)
            for k in range(found):
                i, a, f = gifts[k, 0], gifts[k, 1], gifts[k, 2]
                more = moved(state.phy2log, old, i, a, f)
                pays = cost - _gift_cost(state, i, a, f, single)
                rate = (pays - move_us * more) / max(more, 1)
                if rate > best and (more <= 0 or pays > least):
                    best, gain, slot, other, taken = rate, pays, i, -1, f
        _reach_into(state, reach)
        pairs = _promising(reach, max(best, least))
        for at in range(len(pairs)):
            a, b = pairs[at] // gpus, pairs[at] % gpus
            if reach[a, b] <= max(best, least) or (at >= looks and slot >= 0):
                break
            found = _rank(state, a, b, blur, order, keys)
            for k in range(found):
                i, j = order[k, 0], order[k, 1]
                e, f = state.phy2log[i], state.phy2log[j]
                more = moved(state.phy2log, old, i, a, f)
                more += moved(state.phy2log, old, j, b, e)
                if more > most - moves:
                    continue
                pays = cost - _exchange_cost(state, a, b, e, f)
                rate = (pays - move_us * more) / max(more, 1)
                if rate > best and (more <= 0 or pays > least):
                    best, gain, slot, other, taken = rate, pays, i, j, f
        if slot < 0 or gain <= least:
            return done
        moves += _apply(state, slot, other, taken, old, single)
        cost = objective(state)
        path[done, 0], path[done, 1] = slot, other
        path[done, 2], path[done, 3] = taken, moves
        gains[done] = gain
        done += 1
    return done


@kernel
def _apply(
    state: State, slot: int, other: int, taken: int, old: Flags, single: Floats
) -> int:
    """Make a change; return how many more slots differ from the start."""
    a = _gpu_of(state.first, slot)
    more = moved(state.phy2log, old, slot, a, taken)
    if other >= 0:
        b = _gpu_of(state.first, other)
        more += moved(state.phy2log, old, other, b, state.phy2log[slot])
        exchange(state, slot, other, a, b)
    else:
        given = state.phy2log[slot]
        before = state.replicas[given], state.replicas[taken]
        give_slot(state, slot, a, taken, single)
        _scale_moment(state, given, before[0] / state.replicas[given])
        _scale_moment(state, taken, before[1] / state.replicas[taken])
    refresh_top(state)
    return more


@kernel
def _gpu_of(first: Ints, slot: int) -> int:
    gpu = 0
    while first[gpu + 1] <= slot:
        gpu += 1
    return gpu


@kernel
def _share_moments(state: State) -> None:
    """Turn moments of single copies into those of the copies there are."""
    for e in range(state.replicas.shape[0]):
        if state.replicas[e] > 1:
            _scale_moment(state, e, 1.0 / state.replicas[e])


@kernel
def _scale_moment(state: State, expert: int, factor: float) -> None:
    by = np.float32(factor)
    state.moment[expert] *= by
    state.moment[:, expert] *= by


@kernel
def _reach_into(state: State, reach: Floats) -> None:
    """Write the most that an exchange of two GPUs can gain, us ``[gpus, gpus]``.

    Where one of them is slowest, a step can gain no more than down to the slowest of
    the others; where latencies are lines in the same loads, no more than down to
    where both take as long.
    """
    gpus = reach.shape[0]
    reach[:] = 0.0
    for t in range(state.tokens.shape[1]):
        w = np.float64(state.weights[t])
        i, j = state.top_gpu[0, t], state.top_gpu[1, t]
        high = float(state.top[0, t])
        own = float(state.scale[i])
        for b in range(gpus):
            rest = state.top[2, t] if b == j else state.top[1, t]
            most = high - rest
            scale = float(state.scale[b])
            if not state.curved and state.stream[i] == state.stream[b]:
                gap = high - state.latency[b, t]
                level = gap * own / (own + scale) if own + scale > 0.0 else 0.0
                most = min(level, most)
            if b != i:
                reach[min(i, b), max(i, b)] += w * most


@kernel
def _promising(reach: Floats, floor: float) -> Ints:
    """Pairs that can gain more than `floor`, those that can gain most first."""
    gpus = reach.shape[0]
    pairs = np.empty(gpus * gpus, dtype=np.int64)
    found = 0
    for a in range(gpus):
        for b in range(a + 1, gpus):
            if reach[a, b] > floor:
                pairs[found] = a * gpus + b
                found += 1
    most = np.empty(found)
    for k in range(found):
        most[k] = -reach[pairs[k] // gpus, pairs[k] % gpus]
    return pairs[:found][np.argsort(most, kind="mergesort")]


@kernel
def _rank(state: State, a: int, b: int, blur: float, order: Ints, keys: Floats) -> int:
    return rank_pair(
        state.phy2log, state.first, state.held, a, b, state.latency, state.top,
        state.top_gpu, state.weights, state.load, state.stream[a], state.stream[b],
        state.scale[a], state.scale[b], state.moment, state.scratch, state.tilt, blur,
        order, keys,
    )  # fmt: skip


@kernel
def _exchange_cost(state: State, a: int, b: int, e: int, f: int) -> float:
    """Objective after an exchange, us; `rank_pair` has left the rest in scratch."""
    if state.curved:
        return curve_cost(state, a, b, e, f)
    return line_cost(
        state.latency, a, b, state.scale[a], state.scale[b], state.load,
        state.stream[a], state.stream[b], e, f, state.weights, state.scratch,
    )  # fmt: skip


@kernel
def _gift_cost(state: State, slot: int, gpu: int, expert: int, single: Floats) -> float:
    """Objective after `slot` went to `expert`, us; the placement stays as it is."""
    given = state.phy2log[slot]
    give_slot(state, slot, gpu, expert, single)
    high = state.scratch[0]
    high[:] = state.latency[0]
    for g in range(1, state.latency.shape[0]):
        for t in range(high.shape[0]):
            value = state.latency[g, t]
            high[t] = value if value > high[t] else high[t]
    total = np.float64(0.0)
    for t in range(high.shape[0]):
        total += np.float64(state.weights[t]) * np.float64(high[t])
    give_slot(state, slot, gpu, given, single)
    return total
