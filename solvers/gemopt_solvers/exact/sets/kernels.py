"""Hot loops of the branch and bound over sets of experts."""

import math

import numpy as np

from gemopt.jit import inlined, kernel
from gemopt.latency.kernels import latencies_into
from gemopt.latency.tables import LatencyTables


@kernel
def set_latencies_into(
    tables: LatencyTables,
    kind_row: np.ndarray,  # [kinds, steps] row of the tables
    same_row: np.ndarray,  # [kinds] bool
    first_set: np.ndarray,  # [kinds] first set of the size of the kind
    count: np.ndarray,  # [kinds] sets of that size
    member: np.ndarray,  # [sets, slots] experts; -1 behind the last
    shares: np.ndarray,  # [experts, steps] tokens of one copy
    weights: np.ndarray,  # [steps]
    out: np.ndarray,  # [rows, >= steps] us, weighted, written
) -> None:
    """Write the latency of every set on every kind of GPU, kind after kind."""
    experts, steps = shares.shape
    tile = np.empty((experts, steps))
    tokens, active, tiles = np.empty(steps), np.empty(steps), np.empty(steps)
    row = 0
    for k in range(kind_row.shape[0]):
        for e in range(experts):
            for t in range(steps):
                tile[e, t] = math.ceil(shares[e, t] / tables.tile[kind_row[k, t]])
        for s in range(first_set[k], first_set[k] + count[k]):
            tokens[:] = 0.0
            active[:] = 0.0
            tiles[:] = 0.0
            for e in member[s]:
                if e < 0:
                    break
                for t in range(steps):
                    tokens[t] += shares[e, t]
                    active[t] += 1.0 if shares[e, t] > 0.0 else 0.0
                    tiles[t] += tile[e, t]
            time = out[row, :steps]
            latencies_into(
                tables, kind_row[k], same_row[k], tokens, active, tiles, time
            )
            for t in range(steps):
                time[t] *= weights[t]
            row += 1


@inlined
def _advance(chosen: np.ndarray, size: int, n: int, fixed: int) -> bool:
    """Go to the next combination of `size` out of 0..n-1; the first `fixed` stay."""
    i = size - 1
    while i >= fixed and chosen[i] == n - size + i:
        i -= 1
    if i < fixed:
        return False
    chosen[i] += 1
    for j in range(i + 1, size):
        chosen[j] = chosen[j - 1] + 1
    return True


@inlined
def _left(flags: np.ndarray, out: np.ndarray) -> int:
    """Write the experts with copies left to place; return how many."""
    n = 0
    for e in range(flags.shape[0]):
        if flags[e] > 0:
            out[n] = e
            n += 1
    return n


@inlined
def _mask(chosen: np.ndarray, left: np.ndarray, size: int) -> int:
    mask = 0
    for i in range(size):
        mask |= 1 << left[chosen[i]]
    return mask


@kernel
def residual_into(
    first: int,  # states of the level are rows first..end-1
    end: int,
    key: np.ndarray,  # [states] int64
    unplaced: np.ndarray,  # [states, experts] whether left to place
    where: np.ndarray,  # [keys] int32, state of a key or -1
    size: int,  # slots of the GPU of this level
    alike: bool,  # all GPUs from here on are of one kind
    latency: np.ndarray,  # [rows, steps] us
    first_row: int,  # set s on the GPU of this level is row ``first_row + s``
    set_of_mask: np.ndarray,  # [2**experts] int32
    set_key: np.ndarray,  # [sets] int64
    halt: np.ndarray,  # [1] non-zero asks to end
    least: np.ndarray,  # [states, steps] us, written
) -> None:
    """Write the least time of every step alone, for every state of a level.

    ``least[R, t]`` is the smallest possible time of the slowest of the GPUs that are
    still to fill, when they share out the copies R and only step t counts.
    """
    steps = least.shape[1]
    left = np.empty(unplaced.shape[1], dtype=np.int64)
    chosen = np.empty(size, dtype=np.int64)
    fixed = 1 if alike else 0  # of like GPUs, one must hold the first expert left
    for i in range(first, end):
        if halt[0] != 0:
            return
        n = _left(unplaced[i], left)
        out = least[i]
        out[:] = np.inf
        for j in range(size):
            chosen[j] = j
        more = n >= size
        while more:
            own = set_of_mask[_mask(chosen, left, size)]
            child = where[key[i] - set_key[own]]
            if child >= 0:
                time, rest = latency[first_row + own], least[child]
                for t in range(steps):
                    v, b, known = time[t], rest[t], out[t]
                    v = v if v > b else b
                    out[t] = v if v < known else known
            more = _advance(chosen, size, n, fixed)


@inlined
def _total(
    z: np.ndarray, time: np.ndarray, rest: np.ndarray, part: np.ndarray
) -> float:
    """Sum of the largest of three times over all steps, in one fixed order.

    Quarters side by side, so that processors with wide registers can use them; the
    number of steps divides by 16, and `part` has a quarter of it.
    """
    n = part.shape[0]
    for t in range(n):
        a, x, y = z[t], time[t], rest[t]
        a = a if a > x else x
        a = a if a > y else y
        b, x, y = z[t + n], time[t + n], rest[t + n]
        b = b if b > x else x
        b = b if b > y else y
        c, x, y = z[t + 2 * n], time[t + 2 * n], rest[t + 2 * n]
        c = c if c > x else x
        c = c if c > y else y
        d, x, y = z[t + 3 * n], time[t + 3 * n], rest[t + 3 * n]
        d = d if d > x else x
        d = d if d > y else y
        part[t] = (a + b) + (c + d)
    s0 = s1 = s2 = s3 = 0.0
    for t in range(0, n, 4):
        s0 += part[t]
        s1 += part[t + 1]
        s2 += part[t + 2]
        s3 += part[t + 3]
    return (s0 + s1) + (s2 + s3)


@kernel
def root_bounds(
    floor: np.ndarray,  # [steps] us
    first_row: int,
    latency: np.ndarray,  # [rows, steps] us
    children: np.ndarray,  # [children] sets of the first GPU
    states: np.ndarray,  # [children] states that they lead to
    least: np.ndarray,  # [states, steps] us
    out: np.ndarray,  # [children] us, written
) -> None:
    """Write what every set of the first GPU costs at least."""
    part = np.empty(least.shape[1] // 4)
    for i in range(children.shape[0]):
        time = latency[first_row + children[i]]
        out[i] = _total(floor, time, least[states[i]], part)


@inlined
def _next(fresh: bool, chosen: np.ndarray, size: int, n: int, fixed: bool) -> bool:
    """Go to the first combination, or from one to the next; tell whether it exists."""
    if fresh:
        for j in range(size):
            chosen[j] = j
        return n >= size
    return _advance(chosen, size, n, 1 if fixed else 0)


@inlined
def _larger(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for t in range(out.shape[0]):
        x, y = a[t], b[t]
        out[t] = x if x > y else y


@kernel
def descend(
    root: int,  # set of the first GPU
    level: np.ndarray,  # [levels, 4] slots; set s is row ``level[l, 1] + s``; whether
    # the level before, and whether all levels from here on, are of the same kind
    latency: np.ndarray,  # [rows, steps] us
    set_of_mask: np.ndarray,  # [2**experts] int32
    set_key: np.ndarray,  # [sets] int64
    key: np.ndarray,  # [states] int64
    unplaced: np.ndarray,  # [states, experts] whether left to place
    where: np.ndarray,  # [keys] int32, state of a key or -1
    least: np.ndarray,  # [states, steps] us
    floor: np.ndarray,  # [steps] us, time of every step whatever is placed
    tolerance: float,  # totals must be smaller by this share to count as better
    limit: np.ndarray,  # [1] us, totals from here on are of no use; lowered
    best: np.ndarray,  # [levels] sets of the best placement, written
    halt: np.ndarray,  # [1] non-zero asks to end
) -> None:
    """Search below one set of the first GPU.

    Depth first, GPU after GPU; sets of like GPUs must rise. A node is left when the
    slowest of the filled GPUs and the least time of the others add up to the limit.
    """
    levels, experts = level.shape[0], unplaced.shape[1]
    left = np.empty((levels, experts), dtype=np.int64)
    chosen = np.empty((levels, experts), dtype=np.int64)
    count = np.empty(levels, dtype=np.int64)
    taken = np.empty(levels, dtype=np.int64)
    state = np.ones(levels, dtype=np.int64)  # state 1 has nothing placed
    z = np.empty((levels + 1, floor.shape[0]))
    part = np.empty(floor.shape[0] // 4)
    z[0] = floor
    depth, fresh = 0, True
    while depth >= 0 and halt[0] == 0:
        size, own, more = level[depth, 0], root, fresh
        if depth > 0:
            if fresh:
                count[depth] = _left(unplaced[state[depth]], left[depth])
            more = _next(fresh, chosen[depth], size, count[depth], level[depth, 3] > 0)
            own = set_of_mask[_mask(chosen[depth], left[depth], size)] if more else 0
        fresh = False
        if not more:
            depth -= 1
            continue
        if level[depth, 2] > 0 and own < taken[depth - 1]:
            continue
        child = where[key[state[depth]] - set_key[own]]
        if child < 0:
            continue
        time = latency[level[depth, 1] + own]
        total = _total(z[depth], time, least[child], part)
        if total >= limit[0]:
            continue
        taken[depth] = own
        if depth == levels - 1:
            limit[0] = total * (1.0 - tolerance)
            best[:] = taken
            continue
        _larger(time, z[depth], z[depth + 1])
        depth, fresh = depth + 1, True
        state[depth] = child
