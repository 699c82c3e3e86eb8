"""The linear relaxation of a layer at a node: its tableau, safe bound and fixings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.exact.lp.simplex import (
    BARRED,
    FREE,
    GONE,
    INFEASIBLE,
    reoptimise,
    without_gone,
)

_PIVOTS = 500  #: most pivots at a node: any dual point is a bound
_BEYOND = 1e-7  #: relative, how far above the limit the simplex goes on


class Lines(NamedTuple):
    """A layer whose latencies are lines, weighted by the steps, us.

    ``z_t >= base[q] + sum of cost[q, e] over the experts e on gpu[q]`` for every row q
    with ``step[q] == t``, and ``z_t >= low[t]``.

    Variables are numbered: expert e on GPU g, ``e * gpus + g``; slack of row q; what
    is missing in each GPU's slots; what is missing of each expert; ``z_t - low_t``.
    """

    cost: np.ndarray  # [rows, experts]
    base: np.ndarray  # [rows]
    step: np.ndarray  # [rows] int64
    gpu: np.ndarray  # [rows] int64
    low: np.ndarray  # [steps]
    slots: np.ndarray  # [gpus] int64
    kind: np.ndarray  # [gpus] int64, alike GPUs have the same


class Nodes(NamedTuple):
    """Tableaus and open GPUs of the nodes from the root down to the present one."""

    t: np.ndarray  # [levels, rows + 1, columns + 1]
    rows: np.ndarray  # [levels] int64
    columns: np.ndarray  # [levels] int64
    basic: np.ndarray  # [levels, rows + 1] int64
    column: np.ndarray  # [levels, columns + 1] int64
    state: np.ndarray  # [levels, variables] uint8
    may: np.ndarray  # [levels, experts] int64, bits of the GPUs an expert may be on
    opened: np.ndarray  # [levels] int64, bits of the GPUs that decisions name
    price: np.ndarray  # [levels, gpus, experts] us, what each GPU adds to the bound


def root_tableau(lines: Lines) -> Nodes:
    """Tableau of the whole layer, dual feasible: nothing placed, all rows basic."""
    (rows, experts), gpus, steps = lines.cost.shape, len(lines.slots), len(lines.low)
    placed = experts * gpus
    missing = placed + rows
    z = missing + gpus + experts
    high, wide = rows + gpus + experts + 1, placed + steps + 1
    t = np.zeros((high, wide))
    t[0, 0] = lines.low.sum()
    t[0, 1 + placed :] = 1.0
    number = np.arange(rows)
    t[1 : 1 + rows, 0] = lines.low[lines.step] - lines.base
    t[1 + number, 1 + placed + lines.step] = -1.0
    expert = np.arange(experts) * gpus
    for q in range(rows):
        t[1 + q, 1 + expert + lines.gpu[q]] = lines.cost[q]
    t[1 + rows : 1 + rows + gpus, 0] = lines.slots
    t[1 + rows + gpus :, 0] = 1.0
    for g in range(gpus):
        t[1 + rows + g, 1 + expert + g] = 1.0
        t[1 + rows + gpus + np.arange(experts), 1 + expert + g] = 1.0
    state = np.zeros(z + steps, dtype=np.uint8)
    state[missing : missing + gpus] = BARRED
    state[missing + gpus : z] = GONE
    nonbasic = [np.zeros(1), np.arange(placed), np.arange(z, z + steps)]
    return Nodes(
        t=t[None],
        rows=np.array([high - 1]),
        columns=np.array([wide - 1]),
        basic=np.concatenate([[0], np.arange(placed, z)])[None].astype(np.int64),
        column=np.concatenate(nonbasic)[None].astype(np.int64),
        state=state[None],
        may=np.full((1, experts), (1 << gpus) - 1, dtype=np.int64),
        opened=np.zeros(1, dtype=np.int64),
        price=np.zeros((1, gpus, experts)),
    )


@kernel
def _weights(
    lines: Lines, nodes: Nodes, d: int, ray: int, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Dual of the rows, scaled to be feasible, and of the slots, at level d.

    With `ray`, the row that shows that nothing fits, so much of it is added that the
    bound passes `limit`.
    """
    (rows, experts), gpus = lines.cost.shape, len(lines.slots)
    first = experts * gpus
    values = np.zeros(rows + gpus)
    t, theta = nodes.t[d], 0.0
    if ray > 0:
        theta = -1.01 * max(limit - t[0, 0], 0.0) / t[ray, 0]
        v = nodes.basic[d, ray] - first
        if 0 <= v < rows + gpus:
            values[v] = theta
    for j in range(1, nodes.columns[d] + 1):
        v = nodes.column[d, j] - first
        if 0 <= v < rows + gpus:
            values[v] = t[0, j] + (theta * t[ray, j] if ray > 0 else 0.0)
    weight, total = values[:rows], np.zeros(len(lines.low))
    for q in range(rows):
        weight[q] = max(weight[q], 0.0)
        total[lines.step[q]] += weight[q]
    for q in range(rows):
        if total[lines.step[q]] > 1.0:
            weight[q] /= total[lines.step[q]] * (1.0 + 1e-12)
    return weight, values[rows:]


@kernel
def safe_bound(lines: Lines, nodes: Nodes, d: int, ray: int, limit: float) -> float:
    """Lower bound of a node, us, from the costs of its columns alone.

    Any weights of the rows with a sum of at most 1 in each step, and any prices of
    slots, prove a bound: experts then choose GPUs one by one. Rounding errors of the
    tableau make it smaller, never wrong. What each GPU would add is left in `price`.
    """
    weight, slot = _weights(lines, nodes, d, ray, limit)
    experts, gpus = lines.cost.shape[1], len(lines.slots)
    price = nodes.price[d]
    price[:] = 0.0
    total = lines.low.sum()
    for q in range(len(weight)):
        w = weight[q]
        if w > 0.0:
            total += w * (lines.base[q] - lines.low[lines.step[q]])
            own, cost = price[lines.gpu[q]], lines.cost[q]
            for e in range(experts):
                own[e] += w * cost[e]
    for g in range(gpus):
        total -= lines.slots[g] * slot[g]
    for e in range(experts):
        least = np.inf
        for g in range(gpus):
            price[g, e] += slot[g]
            if nodes.may[d, e] >> g & 1 and price[g, e] < least:
                least = price[g, e]
        for g in range(gpus):
            price[g, e] -= least
        total += least
    return total


@kernel
def propagate(may: np.ndarray, slots: np.ndarray) -> bool:
    """Close full GPUs, fill those with no choice left; False if nothing fits."""
    experts, gpus = len(may), len(slots)
    changed = may.min() > 0
    if not changed:
        return False
    while changed:
        changed = False
        for g in range(gpus):
            bit, sure, open_to = 1 << g, 0, 0
            for e in range(experts):
                if may[e] & bit:
                    open_to += 1
                    sure += 1 if may[e] == bit else 0
            if sure > slots[g] or open_to < slots[g]:
                return False
            if open_to == sure or (sure < slots[g] < open_to):
                continue
            changed = True
            for e in range(experts):
                if may[e] & bit and may[e] != bit:
                    may[e] = may[e] & ~bit if sure == slots[g] else bit
    return True


@kernel
def close(nodes: Nodes, d: int) -> bool:
    """Mark what no expert may do any more as gone; tell whether anything was new."""
    experts, gpus = nodes.price.shape[2], nodes.price.shape[1]
    new = False
    for e in range(experts):
        for g in range(gpus):
            v = e * gpus + g
            if not nodes.may[d, e] >> g & 1 and nodes.state[d, v] == FREE:
                nodes.state[d, v] = GONE
                new = True
    return new


@kernel
def settle(lines: Lines, nodes: Nodes, d: int, limit: float) -> float:
    """Solve a node, rule out what its prices rule out, until nothing changes.

    Returns the node's bound, us; inf if nothing below `limit` is left.
    """
    while True:
        nodes.columns[d] = without_gone(
            nodes.t[d], nodes.rows[d], nodes.columns[d], nodes.column[d], nodes.state[d]
        )
        value = relaxed(lines, nodes, d, limit, _PIVOTS)
        if value >= limit:
            return np.inf
        for e in range(nodes.price.shape[2]):
            for g in range(nodes.price.shape[1]):
                if value + nodes.price[d, g, e] >= limit:
                    nodes.may[d, e] &= ~(1 << g)
        if not propagate(nodes.may[d], lines.slots):
            return np.inf
        if not close(nodes, d):
            return value


@kernel
def relaxed(lines: Lines, nodes: Nodes, d: int, limit: float, most: int) -> float:
    """Safe bound of a node after at most so many pivots, us."""
    status, nodes.columns[d], ray = reoptimise(
        nodes.t[d],
        nodes.rows[d],
        nodes.columns[d],
        nodes.basic[d],
        nodes.column[d],
        nodes.state[d],
        limit + _BEYOND * abs(limit),
        most,
        nodes.price[d].size,
    )
    return safe_bound(lines, nodes, d, ray if status == INFEASIBLE else 0, limit)


@kernel
def enter(lines: Lines, nodes: Nodes, d: int, e: int, g: int) -> bool:
    """Make level d + 1: as level d, with expert e on GPU g; False if nothing fits."""
    experts, gpus = lines.cost.shape[1], len(lines.slots)
    below = d + 1
    nodes.may[below] = nodes.may[d]
    nodes.may[below, e] = 1 << g
    nodes.opened[below] = nodes.opened[d] | 1 << g
    if not propagate(nodes.may[below], lines.slots):
        return False
    nodes.state[below] = nodes.state[d]
    close(nodes, below)
    t, out = nodes.t[d], nodes.t[below]
    kept = np.empty(nodes.columns[d] + 1, dtype=np.int64)
    wide, high = 0, 0
    for j in range(1, nodes.columns[d] + 1):
        v = nodes.column[d, j]
        if nodes.state[below, v] != GONE:
            wide += 1
            kept[wide] = j
            nodes.column[below, wide] = v
    for i in range(nodes.rows[d] + 1):
        if i > 0:
            v = nodes.basic[d, i]
            if v < experts * gpus and nodes.may[d, v // gpus] == 1 << (v % gpus):
                continue  # 1 whatever else happens
            high += 1
            nodes.basic[below, high] = v
        source, row = t[i], out[high]
        row[0] = source[0]
        for k in range(1, wide + 1):
            row[k] = source[kept[k]]
    nodes.rows[below], nodes.columns[below] = high, wide
    return True
