"""Branch and bound on the linear relaxation: whom to decide, and the descent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.exact.lp.relaxation import (
    Lines,
    Nodes,
    close,
    enter,
    propagate,
    relaxed,
    settle,
)
from gemopt_solvers.exact.lp.simplex import FREE

_LOOKED = 16  #: experts that are tried out at a node
_RELIABLE = 300  #: trials of a choice from which its mean rise is trusted
_TRIAL_PIVOTS = 200
_STEEPNESS = 4.0  #: a rise by the whole gap makes a subtree exp(4) times smaller
_WHOLE = 1e-6
_DECIDED, _CHANGED, _EMPTY = -1, -2, -3  #: instead of an expert


class Search(NamedTuple):
    """What all nodes share."""

    limit: np.ndarray  # [1] us, nothing from here on is of use; lowered
    grain: np.ndarray  # [2] a better cost is lower by so much: us, relative
    best: np.ndarray  # [experts] GPU of each expert in the best placement, written
    halt: np.ndarray  # [1] non-zero asks to end
    rise: np.ndarray  # [experts, gpus] us, sum of the rises seen
    trials: np.ndarray  # [experts, gpus] int64, how many they are


class Found(NamedTuple):
    """Nodes at the deepest level, for later."""

    may: np.ndarray  # [many, experts] int64
    opened: np.ndarray  # [many] int64
    bound: np.ndarray  # [many] us


@kernel
def _first(g: int, opened: int, kind: np.ndarray) -> bool:
    """Tell whether g is named, or the first of the like GPUs that are not."""
    if opened >> g & 1:
        return True
    for h in range(g):  # noqa: SIM110 (numba knows no generators in all())
        if kind[h] == kind[g] and not opened >> h & 1:
            return False
    return True


@kernel
def _one_pivot(nodes: Nodes, d: int, gpus: int, placed: int) -> np.ndarray:
    """Least rise of the objective, us ``[2, experts, gpus]``: variable to 0, to 1."""
    t, state = nodes.t[d], nodes.state[d]
    out = np.zeros((2, placed // gpus, gpus))
    for j in range(1, nodes.columns[d] + 1):
        v = nodes.column[d, j]
        if v < placed and state[v] == FREE:
            out[1, v // gpus, v % gpus] = max(t[0, j], 0.0)
    for i in range(1, nodes.rows[d] + 1):
        v, value = nodes.basic[d, i], t[i, 0]
        if v >= placed or state[v] != FREE:
            continue
        up, down = 1e300, 1e300
        for j in range(1, nodes.columns[d] + 1):
            x = t[i, j]
            if abs(x) < 1e-7 or state[nodes.column[d, j]] != FREE:
                continue
            if x > 0.0:
                down = min(down, t[0, j] / x)
            else:
                up = min(up, t[0, j] / -x)
        if value > 1e-9:
            out[0, v // gpus, v % gpus] = max(value * down, 0.0)
        if value < 1.0 - 1e-9:
            out[1, v // gpus, v % gpus] = max((1.0 - value) * up, 0.0)
    return out


@kernel
def _expected(
    lines: Lines, nodes: Nodes, search: Search, d: int, gap: float, rises: np.ndarray
) -> np.ndarray:
    """Relative size of the subtree of each expert; `rises` of each choice, us."""
    experts, gpus = rises.shape
    pivots = _one_pivot(nodes, d, gpus, experts * gpus)
    size = np.full(experts, np.inf)
    rises[:] = np.inf
    for e in range(experts):
        may = nodes.may[d, e]
        if may & (may - 1) == 0:
            continue
        size[e] = 0.0
        for g in range(gpus):
            if not may >> g & 1 or not _first(g, nodes.opened[d], lines.kind):
                continue
            rise = pivots[1, e, g]
            for h in range(gpus):
                if h != g:
                    rise = max(rise, pivots[0, e, h])
            if search.trials[e, g] > 0:
                rise = max(rise, search.rise[e, g] / search.trials[e, g])
            rises[e, g] = rise
            size[e] += np.exp(-_STEEPNESS * min(rise / gap, 1.0))
    return size


@kernel
def _tried(
    lines: Lines,
    nodes: Nodes,
    search: Search,
    d: int,
    value: float,
    e: int,
    rises: np.ndarray,
) -> tuple[float, bool]:
    """Try all choices of an expert: size of its subtree, whether any is ruled out."""
    limit, size, ruled = search.limit[0], 0.0, False
    gap = max(limit - value, 1e-12)
    for g in range(rises.shape[1]):
        if rises[e, g] == np.inf:
            continue
        bound = np.inf
        if enter(lines, nodes, d, e, g):
            bound = relaxed(lines, nodes, d + 1, limit, _TRIAL_PIVOTS)
            search.rise[e, g] += min(max(bound - value, 0.0), gap)
            search.trials[e, g] += 1
        if bound >= limit:
            nodes.may[d, e] &= ~(1 << g)
            ruled = True
        else:
            size += np.exp(-_STEEPNESS * max(bound - value, 0.0) / gap)
    return size, ruled


@kernel
def _choose(lines: Lines, nodes: Nodes, search: Search, d: int, value: float) -> int:
    """Expert to branch on, or that choices were ruled out, or that none is left."""
    experts, gpus = lines.cost.shape[1], len(lines.slots)
    rises = np.empty((experts, gpus))
    gap = max(search.limit[0] - value, 1e-12)
    size = _expected(lines, nodes, search, d, gap, rises)
    least, chosen, changed = np.inf, _DECIDED, False
    for _ in range(_LOOKED):
        e = int(size.argmin())
        guess = size[e]
        if guess >= least:
            break
        size[e] = np.inf
        trusted = True
        for g in range(gpus):
            if rises[e, g] < np.inf and search.trials[e, g] < _RELIABLE:
                trusted = False
        if not trusted:
            guess, ruled = _tried(lines, nodes, search, d, value, e, rises)
            changed = changed or ruled
            if nodes.may[d, e] == 0:
                return _EMPTY
        if guess < least:
            least, chosen = guess, e
        if trusted:
            break
    if changed:
        if not propagate(nodes.may[d], lines.slots):
            return _EMPTY
        close(nodes, d)
        return _CHANGED
    return chosen


@kernel
def _keep_if_better(lines: Lines, nodes: Nodes, search: Search, d: int) -> None:
    """Take over the solution of a node if it is whole and its true cost is lower."""
    experts, gpus = lines.cost.shape[1], len(lines.slots)
    gpu = np.full(experts, -1, dtype=np.int64)
    for i in range(1, nodes.rows[d] + 1):
        v = nodes.basic[d, i]
        if v < experts * gpus and nodes.t[d, i, 0] > 1.0 - _WHOLE:
            gpu[v // gpus] = v % gpus
    held = np.zeros(gpus, dtype=np.int64)
    for e in range(experts):
        for g in range(gpus):
            if nodes.may[d, e] == 1 << g:
                gpu[e] = g
        if gpu[e] < 0:
            return
        held[gpu[e]] += 1
    if (held != lines.slots).any():
        return
    time = lines.low.copy()
    for q in range(len(lines.base)):
        cost = lines.base[q]
        for e in range(experts):
            if gpu[e] == lines.gpu[q]:
                cost += lines.cost[q, e]
        time[lines.step[q]] = max(time[lines.step[q]], cost)
    total = time.sum()
    if total < search.limit[0]:
        search.limit[0] = total - max(search.grain[0], search.grain[1] * total)
        search.best[:] = gpu


@kernel
def _opened_at(
    lines: Lines, nodes: Nodes, search: Search, found: Found, d: int, keep: int
) -> tuple[int, bool]:
    """Settle a node: the expert to branch on or -1; whether it was kept for later."""
    while search.halt[0] == 0:
        value = settle(lines, nodes, d, search.limit[0])
        if value == np.inf:
            return _DECIDED, False
        _keep_if_better(lines, nodes, search, d)
        if value >= search.limit[0]:
            return _DECIDED, False
        if keep >= 0:
            found.may[keep] = nodes.may[d]
            found.opened[keep] = nodes.opened[d]
            found.bound[keep] = value
            return _DECIDED, True
        e = _choose(lines, nodes, search, d, value)
        if e == _CHANGED:
            continue
        return max(e, _DECIDED), False
    return _DECIDED, False


@kernel
def descend(
    lines: Lines, nodes: Nodes, search: Search, found: Found, deepest: int
) -> int:
    """Search below the node at level 0, depth first; return how many are in `found`.

    Nodes at the level `deepest` are written to `found` instead of branched on.
    """
    gpus = len(lines.slots)
    levels = len(nodes.rows)
    expert, turn = np.zeros(levels, np.int64), np.zeros(levels, np.int64)
    d, fresh, kept = 0, True, 0
    while d >= 0 and search.halt[0] == 0:
        if fresh:
            keep = kept if d == deepest else -1
            expert[d], is_kept = _opened_at(lines, nodes, search, found, d, keep)
            kept += 1 if is_kept else 0
            turn[d] = 0 if expert[d] >= 0 else gpus
            fresh = False
        if turn[d] == gpus:
            d -= 1
            continue
        e, g = expert[d], turn[d]
        turn[d] += 1
        if not nodes.may[d, e] >> g & 1:
            continue
        if _first(g, nodes.opened[d], lines.kind) and enter(lines, nodes, d, e, g):
            d, fresh = d + 1, True
    return kept
