"""Hot loops of the assignment bound.

``each`` is the cost of all copies of an expert on one kind of GPU under two lines, us
``[2, steps, experts, kinds, counts]``; ``copies`` their number ``[counts]``; ``x`` the
weights of the two lines and the price of a slot ``[steps, kinds, 3]``.
"""

import math

import numpy as np

from gemopt.jit import inlined, kernel

_FAR = 25.0  #: exp(-25) of the likeliest is none


@inlined
def _priced(
    one: np.ndarray,  # [kinds, counts], us under the first line
    two: np.ndarray,  # [kinds, counts], under the second
    copies: np.ndarray,
    x: np.ndarray,  # [kinds, 3]
    cost: np.ndarray,  # [kinds, counts], overwritten with the priced cost
) -> float:
    """Priced costs of one expert in one step, and the least of them."""
    least = np.inf
    for k in range(len(one)):
        u, v, price = x[k, 0], x[k, 1], x[k, 2]
        for r in range(len(copies)):
            cost[k, r] = u * one[k, r] + v * two[k, r] - price * copies[r]
        for r in range(len(copies)):
            least = min(least, cost[k, r])
    return least


@kernel
def cheapest(each: np.ndarray, copies: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Least priced cost of each expert over kinds and counts, ``[steps, experts]``."""
    steps, experts, kinds, counts = each.shape[1:]
    least = np.empty((steps, experts))
    cost = np.empty((kinds, counts))
    for t in range(steps):
        for e in range(experts):
            one, two = each[0, t, e], each[1, t, e]
            least[t, e] = _priced(one, two, copies, x[t], cost)
    return least


@kernel
def moments(
    each: np.ndarray, copies: np.ndarray, x: np.ndarray, cold: float
) -> tuple[np.ndarray, np.ndarray]:
    """First and second moments of costs under the softened minimum.

    Every expert takes kind and count with a chance that falls by e for each `cold` that
    its priced cost is above the least. Returned are the mean of (line 1, line 2, minus
    slots) by kind and expert, ``[steps, kinds, 3, experts]``, and the mean of their
    products summed over experts, ``[steps, kinds, 3, 3]``.
    """
    steps, experts, kinds, counts = each.shape[1:]
    first = np.zeros((steps, kinds, 3, experts))
    second = np.zeros((steps, kinds, 3, 3))
    chance = np.empty((kinds, counts))
    for t in range(steps):
        for e in range(experts):
            one, two = each[0, t, e], each[1, t, e]
            least = _priced(one, two, copies, x[t], chance)
            total = 0.0
            for k in range(kinds):
                for r in range(counts):
                    far = (chance[k, r] - least) / cold
                    chance[k, r] = math.exp(-far) if far < _FAR else 0.0
                    total += chance[k, r]
            for k in range(kinds):
                a = b = c = aa = ab = ac = bb = bc = cc = 0.0
                for r in range(counts):
                    if chance[k, r] > 0.0:
                        u = chance[k, r] / total * one[k, r]
                        v = chance[k, r] / total * two[k, r]
                        w = chance[k, r] / total * copies[r]
                        a, b, c = a + u, b + v, c + w
                        aa += u * one[k, r]
                        ab += u * two[k, r]
                        ac += u * copies[r]
                        bb += v * two[k, r]
                        bc += v * copies[r]
                        cc += w * copies[r]
                if c > 0.0:
                    place = first[t, k]
                    place[0, e], place[1, e], place[2, e] = a, b, -c
                    product = second[t, k]
                    product[0, 0] += aa
                    product[0, 1] += ab
                    product[0, 2] -= ac
                    product[1, 1] += bb
                    product[1, 2] -= bc
                    product[2, 2] += cc
        for k in range(kinds):
            for i in range(3):
                for j in range(i):
                    second[t, k, i, j] = second[t, k, j, i]
    return first, second
