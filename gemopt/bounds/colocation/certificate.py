"""What makes bound C trustworthy: any dual point gives a valid bound.

Valid for every latency family, equal and unequal GPUs and slots, with and without
replicas: `gemopt.bounds.steps.minorant` has put each family below a line in additive
costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemopt.bounds.colocation.program import ANCHOR, Program
from gemopt.bounds.steps.minorant import Floats


@dataclass(frozen=True)
class Certificate:
    """A dual point: nothing needs to hold of it for the bound to be valid.

    Attributes
    ----------
    weights
        w, weight of every row of every step, ``[steps, n]``.
    equal
        u, multipliers of the equations, ``[n, k]``.
    box
        Multipliers of the row-sum limits, ``[n]``.
    psd
        S, multiplier of the semidefinite constraint, ``[n, n]``.
    """

    weights: Floats
    equal: Floats
    box: Floats
    psd: Floats


def certified(p: Program, dual: Certificate) -> float:
    """Lower bound on the layer's objective, in us, that `dual` proves.

    For the M of any placement the objective is at least
    ``sum_t weight_t lb_t + sum_ti w_ti ((M F_t)_i - kappa_t)`` as soon as w >= 0, each
    entry times its row's unit, sums to at most weight_t in each step (enforced here).
    Adding the multiples of the other constraints, none of which is positive, leaves a
    linear function <R, M> plus constants, and its least value over all placements is
    bounded entry by entry.
    """
    w, r = residual(p, dual)
    psd = 0.5 * (dual.psd + dual.psd.T)
    value = p.constant - float(w.sum(axis=1) @ p.kappa)
    value += float((dual.equal * p.equal_right).sum())
    value -= p.high * float(np.maximum(dual.box, 0.0) @ p.unit)
    value -= p.low * float(np.minimum(dual.box, 0.0) @ p.unit)
    value += p.shift * float(psd.sum())
    trace = float(p.experts)  # of M, at most
    if p.joint:
        trace = float(((p.slots + ANCHOR**2) / p.pace).sum())
    wrong = min(0.0, float(np.linalg.eigvalsh(psd)[0]))
    scale = max(1.0, float(np.abs(psd).max()), float(np.abs(r).max()))
    value += trace * (wrong - 1e-13 * len(psd) * scale)  # and rounding of eigvalsh
    if p.joint:
        value += ANCHOR**2 * float((np.diag(r)[p.experts :] / p.pace).sum())
    least = _least_with_replicas if p.replicas else _least_without
    return value + least(p, r)


def residual(p: Program, dual: Certificate) -> tuple[Floats, Floats]:
    """Weights ``[steps, n]`` cut to what is allowed, and R ``[n, n]``."""
    w = np.maximum(dual.weights, 0.0)
    w = w * np.minimum(1.0, p.weights / np.maximum(w @ p.unit, 1e-300))[:, None]
    r = w.T @ p.rows - dual.equal @ p.equal_left.T + np.outer(dual.box, p.box)
    return w, 0.5 * (r + r.T) - 0.5 * (dual.psd + dual.psd.T)


def _least_without(p: Program, r: Floats) -> float:
    """Least <R, M> when every expert is on one GPU, less the fixed bottom block."""
    cost = home_costs(p, r)
    if not p.joint:
        return float(cost[:, 0].sum())
    from scipy.optimize import linear_sum_assignment

    per_slot = np.repeat(cost, p.slots, axis=1)
    return float(per_slot[linear_sum_assignment(per_slot)].sum())


def home_costs(p: Program, r: Floats) -> Floats:
    """Least part of <R, M> in an expert's row, by the GPU that holds it ``[E, G]``.

    Row e of M has ``slots`` entries of ``1 / pace`` of its own GPU, one of them on the
    diagonal, and one more in the column of that GPU.
    """
    n = p.experts
    ordered = r[:n, :n].copy()
    np.fill_diagonal(ordered, np.inf)
    ordered.sort(axis=1)
    sums = np.hstack([np.zeros((n, 1)), np.cumsum(ordered[:, : n - 1], axis=1)])
    cost = np.diag(r)[:n, None] + sums[:, np.maximum(p.slots - 1, 0)]
    return (cost + 2.0 * ANCHOR * r[:n, n:]) / p.pace if p.joint else cost


def _least_with_replicas(p: Program, r: Floats) -> float:
    """Least <R, M> with whole numbers of replicas, by a price on slots.

    With k replicas X_ee = 1/k, X_ef <= 1/k and y_e is 1/k on k GPUs. For every price
    m >= 0, ``sum_e min_k (cost_e(k) + m k) - m S`` is a bound; the best m is searched.
    """
    n = p.experts
    count = np.arange(1, p.gpus + 1)
    off = r[:n, :n] - np.diag(np.diag(r)[:n])
    cost = (np.diag(r)[:n] + np.minimum(off, 0.0).sum(axis=1))[:, None] / count
    if p.joint:
        shares = np.sort(2.0 * ANCHOR * r[:n, n:], axis=1)
        cost = cost + np.cumsum(shares, axis=1) / count
    total = float(p.slots.sum())

    def dual(price: float) -> float:
        return float((cost + price * count).min(axis=1).sum() - price * total)

    low, high = 0.0, max(1.0, float(np.ptp(cost)))
    for _ in range(60):  # concave in the price: golden-section is not needed
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if dual(a) < dual(b):
            low = a
        else:
            high = b
    return max(dual(low), dual(high), dual(0.0))
