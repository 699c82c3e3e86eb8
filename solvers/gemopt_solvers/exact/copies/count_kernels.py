"""Hot loops of the branch and bound over numbers of copies."""

import numpy as np

from gemopt.jit import inlined, kernel


@kernel
def narrow(
    parent: np.ndarray,  # [columns of the parent] int32
    copies: np.ndarray,  # [decided] of the experts in front
    spare: int,  # copies beyond one left to the experts behind
    kind: np.ndarray,  # [columns]
    filled: np.ndarray,  # [kinds] whether its GPUs have slots
    held: np.ndarray,  # [columns, experts] int8
    time: np.ndarray,  # [columns, steps] us
    limit: float,
    low: np.ndarray,  # [steps] us, a bound of every step, raised
    out: np.ndarray,  # [columns of the parent] int32, written
) -> int:
    """Write the columns that are still of use; return how many, -1 if none can be.

    Every expert is on some GPU and every kind has a column: none of them is better off
    at a step than in its best column. What then reaches the limit is left out, which
    raises the bound of the steps again.
    """
    experts, steps, kinds = held.shape[1], time.shape[1], filled.shape[0]
    n = 0
    for c in parent:
        fits, extra = True, 0
        for e in range(experts):
            own = int(held[c, e])
            if e < copies.shape[0]:
                fits = fits and (own == 0 or own == copies[e])
            else:
                extra += own - 1 if own > 0 else 0
        if fits and extra <= spare:
            out[n] = c
            n += 1
    best = np.empty((experts + kinds, steps))
    while True:
        best[:] = np.inf
        for c in out[:n]:
            for e in range(experts):
                if held[c, e] > 0:
                    _smaller(time[c], best[e])
            _smaller(time[c], best[experts + kind[c]])
        for e in range(experts + kinds):
            if e >= experts and filled[e - experts] == 0:
                continue
            for t in range(steps):
                low[t] = best[e, t] if best[e, t] > low[t] else low[t]
        if low.sum() >= limit:
            return -1
        before, n = n, 0
        for c in out[:before]:
            if total2(low, time[c]) < limit:
                out[n] = c
                n += 1
        if n > 0.9 * before:
            return n


@inlined
def _smaller(a: np.ndarray, b: np.ndarray) -> None:
    """Lower `b` to `a` where that is smaller."""
    for t in range(b.shape[0]):
        x, y = a[t], b[t]
        b[t] = x if x < y else y


@inlined
def total2(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of the larger of two times over all steps; steps divide by four."""
    s0 = s1 = s2 = s3 = 0.0
    for t in range(0, a.shape[0], 4):
        s0 += a[t] if a[t] > b[t] else b[t]
        s1 += a[t + 1] if a[t + 1] > b[t + 1] else b[t + 1]
        s2 += a[t + 2] if a[t + 2] > b[t + 2] else b[t + 2]
        s3 += a[t + 3] if a[t + 3] > b[t + 3] else b[t + 3]
    return (s0 + s1) + (s2 + s3)


@kernel
def groups_into(
    columns: np.ndarray,  # [columns of the node] int32
    decided: int,  # experts 0..decided-1 are
    kind: np.ndarray,  # [columns]
    mask: np.ndarray,  # [columns] int64
    time: np.ndarray,  # [columns, steps] us
    first: np.ndarray,  # [kinds + 1] first group of each kind, written
    part: np.ndarray,  # [columns of the node] int64, decided experts, written
    column: np.ndarray,  # [columns of the node] int32, one of the group, written
    of: np.ndarray,  # [columns of the node] int32, its group, written
    least: np.ndarray,  # [columns of the node, steps] us, written
) -> int:
    """Group columns that agree on the decided experts; return the number of groups.

    ``least`` is the smallest time of each step in the group. Groups of a kind that
    hold expert 0 come first, of these the ones with expert 1, and so on.
    """
    kinds = first.shape[0] - 1
    cells = 1 << decided
    where = np.full(cells, -1, dtype=np.int32)
    turned = np.empty(cells, dtype=np.int32)  # masks from the back, bits turned round
    for m in range(cells):
        r = 0
        for e in range(decided):
            r = (r << 1) | ((m >> e) & 1)
        turned[cells - 1 - r] = m
    n = 0
    for k in range(kinds):
        first[k] = n
        for c in columns:
            if kind[c] == k:
                where[mask[c] & (cells - 1)] = 0
        for i in range(cells):
            m = turned[i]
            if where[m] == 0:
                where[m] = n
                part[n] = m
                least[n] = np.inf
                n += 1
        for i in range(columns.shape[0]):
            c = columns[i]
            if kind[c] == k:
                g = where[mask[c] & (cells - 1)]
                column[g] = c
                of[i] = g
                _smaller(time[c], least[g])
        for g in range(first[k], n):
            where[part[g]] = -1
    first[kinds] = n
    return n


@kernel
def _grown(a: np.ndarray, n: int) -> np.ndarray:
    """Return a copy of the first n entries in an array twice as long as `a`."""
    b = np.empty(2 * a.shape[0], dtype=a.dtype)
    b[:n] = a[:n]
    return b


@inlined
def _keys(
    copies: np.ndarray, part: np.ndarray, step: np.ndarray, held: np.ndarray
) -> int:
    """Write what each group takes off a key, and its experts; return how many keys.

    A key is the number whose digits are the copies left of each decided expert.
    """
    stride = 1
    for e in range(copies.shape[0]):
        for g in range(part.shape[0]):
            if (part[g] >> e) & 1:
                step[g] += stride
                held[g] += 1
        stride *= copies[e] + 1
    return stride


@inlined
def _left(key: int, copies: np.ndarray, gpus: int) -> tuple[int, int, int]:
    """Experts left, those that every GPU left must hold, and copies left in all."""
    free, must, total = 0, 0, 0
    for e in range(copies.shape[0]):
        digit = key % (copies[e] + 1)
        key //= copies[e] + 1
        total += digit
        free |= (1 << e) if digit > 0 else 0
        must |= (1 << e) if digit == gpus else 0
    return free, must, total


@kernel
def states_of(
    copies: np.ndarray,  # [decided] of each decided expert
    undecided: int,  # copies of all other experts together
    kind: np.ndarray,  # [levels]
    size: np.ndarray,  # [levels] slots
    alike: np.ndarray,  # [levels] bool, see `Levels`
    first: np.ndarray,  # [kinds + 1] groups of each kind
    part: np.ndarray,  # [groups] decided experts
    where: np.ndarray,  # [>= keys] int32, all -1; left so
    halt: np.ndarray,  # [1] non-zero asks to end
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Number what can be left to place, level after level, and link it.

    Returns first state of each level ``[levels + 2]``, first edge of each state
    ``[states + 1]``, and child and group of each edge. State 0 is the start.
    """
    levels = size.shape[0]
    step, held = np.zeros_like(part), np.zeros_like(part)
    keys = _keys(copies, part[: first[-1]], step, held)
    key = np.empty(1024 + first[-1], dtype=np.int64)
    edge = np.zeros(1024 + first[-1], dtype=np.int64)
    child = np.empty(4096 + first[-1], dtype=np.int32)
    group = np.empty(4096 + first[-1], dtype=np.int32)
    begin = np.zeros(levels + 2, dtype=np.int64)
    key[0] = keys - 1
    begin[1] = n = 1
    edges, slots = 0, size.sum()
    for level in range(levels):
        slots -= size[level]
        k, gpus = kind[level], levels - level
        for i in range(begin[level], begin[level + 1]):
            if halt[0] != 0:
                break
            if n + first[-1] > key.shape[0]:
                key, edge = _grown(key, n), _grown(edge, n)
            if edges + first[-1] > child.shape[0]:
                child, group = _grown(child, edges), _grown(group, edges)
            edge[i] = edges
            free, must, total = _left(key[i], copies, gpus)
            if alike[level]:  # of like GPUs, one must hold the first expert left
                must |= free & -free
            for g in range(first[k], first[k + 1]):
                own = part[g]
                if own & ~free or must & ~own:
                    continue
                rest = total - held[g]
                if rest > slots or slots - rest > undecided:
                    continue
                to = key[i] - step[g]
                if where[to] < 0:
                    where[to] = n
                    key[n] = to
                    n += 1
                child[edges], group[edges] = where[to], g
                edges += 1
        begin[level + 2] = n
        for i in range(begin[level + 1], n):
            where[key[i]] = -1
    out = np.empty(n + 1, dtype=np.int64)
    out[: begin[levels]] = edge[: begin[levels]]
    out[begin[levels] :] = edges
    return begin, out, child[:edges], group[:edges]


@kernel
def least_into(
    begin: np.ndarray,  # [levels + 2] first state of each level
    edge: np.ndarray,  # [states + 1]
    child: np.ndarray,  # [edges]
    group: np.ndarray,  # [edges]
    time: np.ndarray,  # [groups, steps] us
    low: np.ndarray,  # [steps] us, a bound of every step
    limit: float,
    halt: np.ndarray,  # [1] non-zero asks to end
    alive: np.ndarray,  # [states] bool, written
    least: np.ndarray,  # [states, steps] us, written
) -> None:
    """Write the least time of every step alone, for everything left to place.

    States that reach the limit with it are dead, and left out of those before.
    """
    last = begin.shape[0] - 2
    alive[:] = False
    for i in range(begin[last], begin[last + 1]):
        alive[i] = True
        least[i] = 0.0
    for i in range(begin[last] - 1, -1, -1):
        if halt[0] != 0:
            return
        out = least[i]
        out[:] = np.inf
        some = False
        for j in range(edge[i], edge[i + 1]):
            if not alive[child[j]]:
                continue
            some = True
            a, b = time[group[j]], least[child[j]]
            for t in range(out.shape[0]):
                v, w, known = a[t], b[t], out[t]
                v = v if v > w else w
                out[t] = v if v < known else known
        alive[i] = some and total2(low, out) < limit


@inlined
def _total3(z: np.ndarray, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> float:
    """Sum of the largest of three times over all steps; write that of the first two."""
    s0 = s1 = s2 = s3 = 0.0
    n = z.shape[0]
    for t in range(n):
        x, y = z[t], a[t]
        out[t] = x if x > y else y
    for t in range(0, n, 4):
        s0 += out[t] if out[t] > b[t] else b[t]
        s1 += out[t + 1] if out[t + 1] > b[t + 1] else b[t + 1]
        s2 += out[t + 2] if out[t + 2] > b[t + 2] else b[t + 2]
        s3 += out[t + 3] if out[t + 3] > b[t + 3] else b[t + 3]
    return (s0 + s1) + (s2 + s3)


@kernel
def useful_into(
    edge: np.ndarray,  # [states + 1]
    child: np.ndarray,  # [edges]
    group: np.ndarray,  # [edges]
    time: np.ndarray,  # [groups, steps] us
    alive: np.ndarray,  # [states] bool
    least: np.ndarray,  # [states, steps] us
    low: np.ndarray,  # [steps] us
    limit: float,
    useful: np.ndarray,  # [groups] bool, written
) -> None:
    """Tell which groups can be in a choice below the limit.

    A group in some place costs at least the sum over steps of the largest of its time,
    the least time of what is placed before it, and the least time of what is left.
    """
    states, steps = least.shape
    before = np.full((states, steps), np.inf)
    before[0] = low
    z = np.empty(steps)
    useful[:] = False
    reached = np.zeros(states, dtype=np.bool_)
    reached[0] = True
    for i in range(states):
        if not (alive[i] and reached[i]):
            continue
        for j in range(edge[i], edge[i + 1]):
            to = child[j]
            if alive[to] and (_total3(before[i], time[group[j]], least[to], z) < limit):
                useful[group[j]] = reached[to] = True
                _smaller(z, before[to])


@kernel
def cheapest(
    same: np.ndarray,  # [levels] bool, see `Levels`
    edge: np.ndarray,  # [states + 1]
    child: np.ndarray,  # [edges]
    group: np.ndarray,  # [edges]
    time: np.ndarray,  # [groups, steps] us
    alive: np.ndarray,  # [states] bool
    least: np.ndarray,  # [states, steps] us
    low: np.ndarray,  # [steps] us
    limit: float,  # totals from here on are of no use
    most: int,  # nodes to look at; beyond, the result is a bound that may be too low
    halt: np.ndarray,  # [1] non-zero asks to end
    best: np.ndarray,  # [levels] groups of the cheapest choice, -1 if none, written
) -> float:
    """Least total of a choice of one group a GPU, or the limit if that is smaller.

    Depth first; sets of like GPUs come in order. A branch is left when the larger of
    its GPUs and the least time of the others add up to the limit.
    """
    levels = same.shape[0]
    best[:] = -1
    if not alive[0]:
        return limit
    at = np.zeros(levels + 1, dtype=np.int64)
    taken = np.zeros(levels, dtype=np.int64)
    z = np.empty((levels + 1, low.shape[0]))
    z[0] = low
    at[0] = edge[0]
    state = np.zeros(levels + 1, dtype=np.int64)
    depth, seen = 0, 0
    root = total2(low, least[0])
    while depth >= 0:
        if halt[0] != 0 or seen > most:
            best[:] = -1
            return min(root, limit)
        j = at[depth]
        if j >= edge[state[depth] + 1]:
            depth -= 1
            continue
        at[depth] = j + 1
        if same[depth] and group[j] < taken[depth - 1]:
            continue
        if not alive[child[j]]:
            continue
        seen += 1
        total = _total3(z[depth], time[group[j]], least[child[j]], z[depth + 1])
        if total >= limit:
            continue
        taken[depth] = group[j]
        if depth == levels - 1:
            limit = total
            best[:] = taken
            continue
        depth += 1
        state[depth] = child[j]
        at[depth] = edge[child[j]]
    return limit
