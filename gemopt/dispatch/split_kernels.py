"""The split of one step that finishes first: levelling pairs of replicas.

Two replicas of an expert are *levelled* when no division of their tokens makes the
slower of their GPUs faster. On lines in tokens this is block coordinate descent on
``sum_g latency_g ** 2 / slope_g``, whose minimum over the base polytope of the splits
also has the smallest maximum (Fujishige 1980, lexicographically optimal bases). With
active experts and tiles it is a local search from several starts.
"""

import math

import numpy as np

from gemopt.dispatch.load_kernels import (
    Replicas,
    StepLoads,
    add_up,
    give_to_one,
    latency_with,
    set_share,
    slope_at,
    split_evenly,
    tokens_only,
)
from gemopt.jit import kernel
from gemopt.latency.kernels import row_at
from gemopt.latency.tables import LatencyTables
from gemopt.model.placement import SHARE_UNIT

_UNIT = float(SHARE_UNIT)
_HALVINGS = 12
_SWEEPS = 24
_STILL = 5e-4  # share of the step's tokens that a last sweep may have moved


@kernel
def level_lines(
    tables: LatencyTables, copies: Replicas, step: StepLoads, slope: np.ndarray
) -> None:
    """Level all replicas on lines in tokens; `slope` is ``[gpus]`` scratch.

    Only shares and latencies are kept up to date on the way: `add_up` does the rest.
    """
    total = 0.0
    for g in range(slope.shape[0]):
        slope[g] = slope_at(tables, step.row[g])
        total += step.tokens[g]
    share, latency = step.share, step.latency
    for _ in range(_SWEEPS):
        moved = 0.0
        for e in copies.replicated:
            first, end = copies.first_copy[e], copies.first_copy[e + 1]
            for _ in range(end - first - 1):
                a, b = slowest_and_fastest(copies, step, first, end)
                if a < 0:  # no tokens at this step
                    break
                ga, gb = copies.slot2gpu[a], copies.slot2gpu[b]
                gap = latency[ga] - latency[gb]
                slopes = slope[ga] + slope[gb]
                if gap <= 0.0 or slopes <= 0.0:
                    break
                # Rounded down, so that shares stay on the grid.
                given = min(math.floor(gap / slopes * _UNIT) / _UNIT, share[a])
                share[a] -= given
                share[b] += given
                latency[ga] -= slope[ga] * given
                latency[gb] += slope[gb] * given
                moved += given
        if moved <= _STILL * total:
            break


@kernel
def slowest_and_fastest(
    copies: Replicas, step: StepLoads, first: int, end: int
) -> tuple[int, int]:
    """Slots of an expert on its slowest GPU that has tokens of it, and the fastest."""
    a, b = -1, -1
    high, low = -np.inf, np.inf
    for i in range(first, end):
        slot = copies.copy2slot[i]
        latency = step.latency[copies.slot2gpu[slot]]
        if latency > high and step.share[slot] > 0.0:
            a, high = slot, latency
    for i in range(first, end):
        slot = copies.copy2slot[i]
        latency = step.latency[copies.slot2gpu[slot]]
        if latency < low and slot != a:
            b, low = slot, latency
    return a, b


@kernel
def pair_latency(
    tables: LatencyTables,
    copies: Replicas,
    step: StepLoads,
    a: int,
    b: int,
    share: float,
) -> tuple[float, float]:
    """Slower and faster GPU in us if slot `a` had `share` tokens and `b` the rest."""
    rest = step.share[a] + step.share[b] - share
    first = latency_with(tables, copies, step, a, share)
    second = latency_with(tables, copies, step, b, rest)
    return max(first, second), min(first, second)


@kernel
def crossing(
    tables: LatencyTables, copies: Replicas, step: StepLoads, a: int, b: int
) -> float:
    """Tokens of slot `a` about which the finishing order of the two GPUs changes."""
    total = step.share[a] + step.share[b]
    low, high = 0.0, total
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        mine = latency_with(tables, copies, step, a, middle)
        if mine > latency_with(tables, copies, step, b, total - middle):
            high = middle
        else:
            low = middle
    return math.floor(0.5 * (low + high) * _UNIT) / _UNIT


@kernel
def best_of_pair(
    tables: LatencyTables, copies: Replicas, step: StepLoads, a: int, b: int
) -> tuple[float, float, float]:
    """Tokens of slot `a` that level it with `b`; slower and faster GPU then, us.

    Tries all to one, the crossing, and the whole tiles of either GPU next to it.
    """
    total = step.share[a] + step.share[b]
    share = step.share[a]
    slow, fast = pair_latency(tables, copies, step, a, b, share)
    middle = crossing(tables, copies, step, a, b)
    tile_a = tables.tile[step.row[copies.slot2gpu[a]]]
    tile_b = tables.tile[step.row[copies.slot2gpu[b]]]
    for i in range(7):
        if i == 0:
            tried = 0.0
        elif i == 1:
            tried = total
        elif i == 2:
            tried = middle
        elif i == 3:
            tried = math.floor(middle / tile_a) * tile_a
        elif i == 4:
            tried = math.ceil(middle / tile_a) * tile_a
        elif i == 5:
            tried = total - math.floor((total - middle) / tile_b) * tile_b
        else:
            tried = total - math.ceil((total - middle) / tile_b) * tile_b
        tried = min(max(tried, 0.0), total)
        slower, faster = pair_latency(tables, copies, step, a, b, tried)
        if slower < slow or (slower == slow and faster < fast):
            share, slow, fast = tried, slower, faster
    return share, slow, fast


@kernel
def sweep(tables: LatencyTables, copies: Replicas, step: StepLoads) -> float:
    """Level the replicas of each expert in turn; return the tokens moved."""
    moved = 0.0
    for e in copies.replicated:
        first, end = copies.first_copy[e], copies.first_copy[e + 1]
        for _ in range(end - first - 1):
            a, b = slowest_and_fastest(copies, step, first, end)
            if a < 0:  # no tokens at this step
                break
            moved += level(tables, copies, step, a, b)
    return moved


@kernel
def level(
    tables: LatencyTables, copies: Replicas, step: StepLoads, a: int, b: int
) -> float:
    """Level slots `a` and `b` under any latency; return the tokens moved."""
    if copies.slot2gpu[a] == copies.slot2gpu[b]:
        moved, share = step.share[b], step.share[a] + step.share[b]  # one active less
    else:
        share, _, _ = best_of_pair(tables, copies, step, a, b)
        moved = abs(share - step.share[a])
    if moved > 0.0:
        move_to(tables, copies, step, a, b, share)
    return moved


@kernel
def best_way_out(
    tables: LatencyTables, copies: Replicas, step: StepLoads, g: int, limit: float
) -> tuple[float, int, int, float]:
    """Find the pair that relieves GPU `g` most: slower GPU us, slots, new share.

    The slots are -1 where none gets below `limit` us.
    """
    best, best_a, best_b, best_share = limit, -1, -1, 0.0
    for a in range(copies.first_slot[g], copies.first_slot[g + 1]):
        e = copies.slot2expert[a]
        if step.share[a] <= 0.0:
            continue
        for i in range(copies.first_copy[e], copies.first_copy[e + 1]):
            b = copies.copy2slot[i]
            if copies.slot2gpu[b] == g:
                continue
            share, slow, _ = best_of_pair(tables, copies, step, a, b)
            if slow < best:
                best, best_a, best_b, best_share = slow, a, b, share
    return best, best_a, best_b, best_share


@kernel
def move_to(
    tables: LatencyTables,
    copies: Replicas,
    step: StepLoads,
    a: int,
    b: int,
    share: float,
) -> None:
    """Leave slot `a` with `share` tokens and give `b` the rest of both."""
    rest = step.share[a] + step.share[b] - share
    set_share(tables, copies, step, a, share)
    set_share(tables, copies, step, b, rest)


@kernel
def relieve_by_chain(
    tables: LatencyTables, copies: Replicas, step: StepLoads, g: int
) -> bool:
    """Pass tokens of GPU `g` on to a second GPU, and that one's to a third.

    The first hop carries a slot's last, ragged tile or all of its tokens.
    """
    limit = step.latency[g]
    for a in range(copies.first_slot[g], copies.first_slot[g + 1]):
        e, held = copies.slot2expert[a], step.share[a]
        if held <= 0.0:
            continue
        tile = tables.tile[step.row[g]]
        for kept in ((math.ceil(held / tile) - 1.0) * tile, 0.0):
            for i in range(copies.first_copy[e], copies.first_copy[e + 1]):
                b = copies.copy2slot[i]
                h = copies.slot2gpu[b]
                if h == g:
                    continue
                given = step.share[b]
                move_to(tables, copies, step, a, b, kept)
                if step.latency[g] < limit:
                    _, c, d, share = best_way_out(tables, copies, step, h, limit)
                    if c >= 0 and c != b:
                        before = step.share[c]
                        move_to(tables, copies, step, c, d, share)
                        if step.latency[g] < limit:
                            return True
                        move_to(tables, copies, step, c, d, before)
                set_share(tables, copies, step, a, held)
                set_share(tables, copies, step, b, given)
            if kept == 0.0:
                break
    return False


@kernel
def relieve_slowest(tables: LatencyTables, copies: Replicas, step: StepLoads) -> None:
    """Move tokens off the slowest GPU while that makes it faster."""
    for _ in range(4 * copies.slot2gpu.shape[0]):
        g = int(np.argmax(step.latency))
        limit = step.latency[g]
        _, a, b, share = best_way_out(tables, copies, step, g, limit)
        if a >= 0:
            move_to(tables, copies, step, a, b, share)
        elif not relieve_by_chain(tables, copies, step, g):
            return


@kernel
def level_all(tables: LatencyTables, copies: Replicas, step: StepLoads) -> None:
    """Level the replicas of every expert until nothing moves."""
    total = step.tokens.sum()
    for _ in range(_SWEEPS):
        if sweep(tables, copies, step) <= _STILL * total:
            break


@kernel
def best_split(
    tables: LatencyTables,
    copies: Replicas,
    loads: np.ndarray,  # [experts] int64 tokens
    step: StepLoads,
    kept: np.ndarray,  # [slots] scratch
    scratch: np.ndarray,  # [gpus] scratch
) -> float:
    """Write the best split found into ``step.share``; return the slowest GPU, us.

    Never slower than the even split, than all tokens of an expert to one replica
    (first one, or greedily), or than what levelling makes of these.
    """
    step_tokens = float(loads.sum())
    lines = True
    for g in range(step.row.shape[0]):
        step.row[g] = row_at(tables, g, step_tokens)
        lines = lines and tokens_only(tables, step.row[g])
    split_evenly(copies, loads, step.share)
    best = add_up(tables, copies, step)
    if copies.replicated.shape[0] == 0:
        return best
    kept[:] = step.share
    # Tokens that are levelled everywhere make more experts active and more tiles
    # ragged, so that the other starts move only what the slowest GPU must lose.
    for start in range(4):
        if start == 0 and lines:
            level_lines(tables, copies, step, scratch)
        elif start == 0:
            level_all(tables, copies, step)
        elif start == 1 and not lines:
            split_evenly(copies, loads, step.share)
            add_up(tables, copies, step)
        elif start >= 2:
            give_to_one(tables, copies, loads, step, start == 2)
        if not lines:
            relieve_slowest(tables, copies, step)
        slowest = add_up(tables, copies, step)
        if slowest < best:
            best = slowest
            kept[:] = step.share
    step.share[:] = kept
    return add_up(tables, copies, step)


@kernel
def best_splits_into(
    tables: LatencyTables,
    copies: Replicas,
    loads: np.ndarray,  # [experts, steps] int64 tokens
    shares: np.ndarray,  # [slots, steps] tokens, written
    latency: np.ndarray,  # [gpus, steps] us, written
    tokens: np.ndarray,  # [gpus, steps], written
) -> None:
    """Split every step of one layer."""
    slots = copies.slot2gpu.shape[0]
    gpus = copies.first_slot.shape[0] - 1
    step = StepLoads(
        np.empty(gpus, np.int64),
        np.empty(slots),
        np.empty(gpus),
        np.empty(gpus),
        np.empty(gpus),
        np.empty(gpus),
    )
    kept, scratch = np.empty(slots), np.empty(gpus)
    now = np.empty(loads.shape[0], np.int64)
    for t in range(loads.shape[1]):
        now[:] = loads[:, t]
        best_split(tables, copies, now, step, kept, scratch)
        shares[:, t] = step.share
        latency[:, t] = step.latency
        tokens[:, t] = step.tokens
