"""The semidefinite program of bound C for one layer, in the form the solver reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemopt.bounds.minorant import Floats, Ints, Minorant


@dataclass(frozen=True)
class Program:
    """Minimise ``sum_t weight_t (lb_t + max(0, max_i (M F_t)_i - kappa_t))``.

    M = X for equal GPUs, ``[[X, x], [x', I]]`` for unequal ones, where ``x[e, g]`` is
    the share of expert e on GPU g (0 or 1 without replicas) and ``X = x x'``. The load
    of the GPU that holds e is ``(X c_t)_e``: linear in X and blind to names of GPUs.
    A GPU's time beyond the one-step bound lb_t is at least ``(load - room_g) / rate``,
    so row e of ``M F_t`` with ``F_t = (c_t, -room_t) / rate_t`` bounds the step; row g
    says the same of GPU g itself.

    M is positive semidefinite (minus J/G for replicas on equal GPUs, since the shares
    of an expert sum to 1) and ``M equal_left = equal_right``; with replicas
    ``low <= M box <= high`` instead of the equation for slots.

    Attributes
    ----------
    rows
        F, us ``[steps, n]``, n = experts (+ GPUs if unequal).
    kappa, bound, weights
        Offset of each step in us, its one-step bound lb in us, its weight, ``[steps]``.
    experts, gpus, slots
        Sizes; slots of each GPU, int64 ``[gpus]``.
    joint, replicas
        Which of the four forms it is.
    equal_left, equal_right
        ``[n, k]`` both; columns of `equal_left` are orthonormal.
    box, low, high
        Row-sum limits ``[n]`` with replicas; zeros otherwise.
    """

    rows: Floats
    kappa: Floats
    bound: Floats
    weights: Floats
    experts: int
    gpus: int
    slots: Ints
    joint: bool
    replicas: bool
    equal_left: Floats
    equal_right: Floats
    box: Floats
    low: float
    high: float

    @property
    def size(self) -> int:
        """Rows of M."""
        return self.rows.shape[1]

    @property
    def constant(self) -> float:
        """What the one-step bounds alone give, in us."""
        return float(self.weights @ self.bound)

    @property
    def shift(self) -> float:
        """M minus this in every entry is positive semidefinite."""
        return 1.0 / self.gpus if self.replicas and not self.joint else 0.0

    def matrix(self, shares: Floats) -> Floats:
        """M of a placement given the shares x ``[experts, gpus]``."""
        if not self.joint:
            return np.asarray(shares @ shares.T)
        stacked = np.vstack([shares, np.eye(self.gpus)])
        return np.asarray(stacked @ stacked.T)


def program(
    least: Minorant, bound: Floats, working: Floats, weights: Floats
) -> Program:
    """Build the program of one layer.

    Parameters
    ----------
    least
        Linear lower bounds on latency.
    bound
        One-step bound of each step, us ``[steps]``.
    working
        Expected time of each step, us ``[steps]``: where curved latencies are
        replaced by their tangent. Any value gives a valid bound.
    weights
        Weight of each step ``[steps]``.
    """
    kinds = least.kinds
    used = (weights > 0) & (least.cost.sum(axis=1) > 0)
    idle = float(weights[~used] @ bound[~used])
    least, bound, working = least.kept(used), bound[used], working[used]
    weights = weights[used]
    room, rate = _lines(least, bound, np.maximum(working, bound * (1 + 1e-9)))
    steps, experts = least.cost.shape
    slots = kinds.slots[kinds.of_gpu]
    gpus = len(slots)
    joint = len(kinds.members) > 1
    replicas = int(slots.sum()) > experts
    one = np.ones(experts)
    if joint:
        rows = np.hstack([least.cost, -room[kinds.of_gpu].T]) / rate[:, None]
        kappa = np.zeros(steps)
        per_slot = np.concatenate([one, -slots.astype(np.float64)])
        names = np.concatenate([0 * one, np.ones(gpus)])
        whole = np.ones(len(per_slot))
        left = [names] if replicas else [names, per_slot]
        right = [whole] if replicas else [whole, 0 * whole]
        box, high = per_slot, 0.0
    else:
        rows = least.cost / rate[:, None]
        kappa = room[0] / rate
        left = [] if replicas else [one]
        right = [] if replicas else [float(slots[0]) * one]
        box, high = one, float(slots[0])
    if len(bound) == 0:  # nothing but idle steps
        rows, kappa = np.zeros((1, rows.shape[1])), np.zeros(1)
        bound, weights = np.array([idle]), np.ones(1)
    else:
        bound = bound + idle / weights.sum()
    spare = int(slots.sum()) - experts
    n = rows.shape[1]
    factor, mix = np.linalg.qr(_columns(left, n))
    return Program(
        rows=rows,
        kappa=kappa,
        bound=bound,
        weights=weights,
        experts=experts,
        gpus=gpus,
        slots=slots,
        joint=joint,
        replicas=replicas,
        equal_left=factor,
        equal_right=_columns(right, n) @ np.linalg.inv(mix),
        box=box if replicas else np.zeros(n),
        # sum_f (1 - 1 / r_f) over the experts of a GPU is at most half the spare slots.
        low=high - _most_missing(spare, experts, gpus) if replicas else 0.0,
        high=high,
    )


def _columns(vectors: list[Floats], size: int) -> Floats:
    return np.array(vectors).T.reshape(size, len(vectors))


def _most_missing(spare: int, experts: int, gpus: int) -> float:
    """Largest sum over experts of 1 - 1 / replicas, given the spare slots."""
    gains = [1 / (r * (r + 1)) for r in range(1, gpus)]
    total = 0.0
    for gain in gains:
        total += gain * min(spare, experts)
        spare -= min(spare, experts)
    return total


def _lines(
    least: Minorant, bound: Floats, working: Floats
) -> tuple[Floats, NDArray[np.float64]]:
    """Lines above the capacity: room ``[kinds, steps]`` at the bound, rate a us."""
    from gemopt.bounds.kernels import line_into

    kinds, steps = least.base.shape
    room, rate = np.zeros((kinds, steps)), np.zeros((kinds, steps))
    out = np.zeros(2)
    total = least.cost.sum(axis=1)
    for t in range(steps):
        for k in range(kinds):
            if least.line[t]:
                rate[k, t] = 1 / least.per_cost[k, t]
                room[k, t] = (bound[t] - least.base[k, t]) * rate[k, t]
                continue
            line_into(
                least.caps,
                least.rows[k, t],
                bound[t],
                working[t],
                total[t],
                out,
            )
            room[k, t], rate[k, t] = out
    # No GPU gets more than the whole step: a larger room (that of a flat curve) says no
    # more, and its size would drown the certificate in rounding errors.
    room = np.minimum(room, total[None, :])
    common = np.maximum(rate.max(axis=0), 1e-9)
    slack = 1e-9 * (1 + np.abs(room)) + least.lost[None, :]
    return room + slack, common
