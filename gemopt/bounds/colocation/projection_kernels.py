"""Hot loops of the projections in `first_order`.

Arrays are all float64 or all float32; single prices are float64 in both cases.
"""

import numpy as np

from gemopt.jit import inlined, kernel


@inlined
def _least_level(
    values: np.ndarray,  # [n]
    size: np.ndarray,  # [n], > 0
    most: float,
    heavy: np.ndarray,  # [n] int64, overwritten
) -> float:
    """Least h >= 0 such that ``max(values - h size, 0) @ size`` is at most `most`.

    Newton's method from the left on a convex, falling function of h; the left end is
    what the largest entry alone asks for. Entries that it drops are not seen again.
    """
    level = 0.0
    for i in range(values.shape[0]):
        alone = (values[i] - most / size[i]) / size[i]
        level = alone if alone > level else level
    count = 0
    for i in range(values.shape[0]):
        if values[i] > level * size[i]:
            heavy[count] = i
            count += 1
    for _ in range(count + 1):  # each pass drops entries or is the last
        total, squares = 0.0, 0.0
        for j in range(count):
            i = heavy[j]
            over = values[i] - level * size[i]
            if over > 0.0:
                total += over * size[i]
                squares += size[i] * size[i]
        if total <= most * (1.0 + 1e-12):
            break
        level += (total - most) / squares
    return level


@kernel
def excess_into(
    values: np.ndarray,  # [rows, n]
    size: np.ndarray,  # [n]
    most: float,
    out: np.ndarray,  # [rows, n], written
) -> None:
    """Write ``max(v - h size, 0)`` of each row; h >= 0 least such that the entries
    times `size` sum to at most `most`."""
    rows, columns = values.shape
    heavy = np.empty(columns, dtype=np.int64)
    for t in range(rows):
        level = _least_level(values[t], size, most, heavy)
        for i in range(columns):
            v = values[t, i] - level * size[i]
            out[t, i] = v if v > 0.0 else 0.0


@kernel
def rows_into(
    ahead: np.ndarray,  # [steps, n] rows of M
    kappa: np.ndarray,  # [steps, n]
    size: np.ndarray,  # [n]
    mass: np.ndarray,  # [steps]
    most: float,
    relax: float,
    y: np.ndarray,  # [steps, n] copy of the rows; renewed
    u: np.ndarray,  # [steps, n] its multipliers; renewed
    back: np.ndarray,  # [steps, n] (y - u) mass, written
) -> None:
    """Renew the copy of the rows: the excess over `kappa`, as in `excess_into`."""
    steps, columns = y.shape
    heavy = np.empty(columns, dtype=np.int64)
    moved = np.empty(columns, dtype=y.dtype)
    for t in range(steps):
        for i in range(columns):
            v = relax * (ahead[t, i] - y[t, i]) + y[t, i] + u[t, i]
            moved[i] = v - kappa[t, i]
        level = _least_level(moved, size, most, heavy)
        for i in range(columns):
            v = moved[i] - level * size[i]
            v = v if v > 0.0 else 0.0
            left = moved[i] + kappa[t, i] - v
            u[t, i] = v
            y[t, i] = left
            back[t, i] = (left - v) * mass[t]


@kernel
def home_into(
    own: np.ndarray,  # [experts]
    on: np.ndarray,  # [experts, gpus]
    most: np.ndarray,  # [gpus]
    anchor: float,
    out_own: np.ndarray,  # [experts], written
    out_on: np.ndarray,  # [experts, gpus], written
) -> None:
    """Write the nearest diagonal and columns of GPUs, which count twice, such that
    ``anchor * own = on.sum()`` and ``0 <= on <= most``; Newton on the price."""
    experts, gpus = on.shape
    for e in range(experts):
        price = 0.0
        for _ in range(2 * gpus + 2):  # piecewise linear and rising
            total, free = 0.0, 0
            for g in range(gpus):
                x = on[e, g] + 0.5 * price
                if x > most[g]:
                    total += most[g]
                elif x > 0.0:
                    total += x
                    free += 1
            rest = anchor * own[e] - anchor * anchor * price - total
            change = rest / (anchor * anchor + 0.5 * free)
            price += change
            if abs(change) <= 1e-12 * (1.0 + abs(price)):
                break
        total = 0.0
        for g in range(gpus):
            x = on[e, g] + 0.5 * price
            x = 0.0 if x < 0.0 else most[g] if x > most[g] else x
            out_on[e, g] = x
            total += x
        out_own[e] = total / anchor


@inlined
def _nearest_share(v: float, price: float, low: float) -> float:
    """The x in [low, 1] with ``x - v = price / x**2``, or the nearer end."""
    if 1.0 - v - price <= 0.0:
        return 1.0
    x = low
    for _ in range(100):  # Newton from the left of a concave, rising function
        step = (v + price / (x * x) - x) / (1.0 + 2.0 * price / (x * x * x))
        if step <= 1e-14:
            break
        x += step
    return min(x, 1.0)


@inlined
def _slots_at(v: np.ndarray, price: float, low: float, out: np.ndarray) -> float:
    """Write the shares at one price; the slots that they need."""
    total = 0.0
    for e in range(v.shape[0]):
        x = _nearest_share(v[e], price, low)
        out[e] = x
        total += 1.0 / x
    return total


@kernel
def shares_into(
    v: np.ndarray,  # [experts]
    low: float,  # 1 / GPUs
    slots: float,
    out: np.ndarray,  # [experts], written
) -> None:
    """Write the nearest x in [low, 1] with ``sum 1 / x <= slots``, by bisection on its
    price, with which x grows."""
    if _slots_at(v, 0.0, low, out) <= slots:
        return
    left, right = 0.0, 1.0
    while _slots_at(v, right, low, out) > slots:
        left, right = right, 2.0 * right
    while right - left > 1e-9 * right:
        middle = 0.5 * (left + right)
        if _slots_at(v, middle, low, out) > slots:
            left = middle
        else:
            right = middle
    _slots_at(v, right, low, out)
