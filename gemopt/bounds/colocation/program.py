"""The semidefinite program of bound C for one layer, in the form the solver reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemopt.bounds.steps.minorant import Floats, Ints, Minorant

#: Size of a GPU's own entry. Any value is valid; at E = 256 and G = 32, 400 iterations
#: leave 3.0 % with 2, 3.3 % with 1 or 4.
ANCHOR = 2.0


@dataclass(frozen=True)
class Program:
    """Minimise ``sum_t weight_t (lb_t + max(0, max_i (M F_t)_i - kappa_t))``.

    M is ``sum_g y_g y_g' / pace_g`` over the GPUs. For equal ones y_g holds the share
    of every expert on GPU g (0 or 1 without replicas) and every pace is 1: entry (e, f)
    tells whether e and f share a GPU, and the load of the GPU that holds e is
    ``(M c_t)_e``, linear in M and blind to names of GPUs. For unequal ones the unit
    vector of g, times ANCHOR, is appended to y_g. A GPU's time beyond the one-step
    bound lb_t is at least ``(load - room_g) / (rate_t pace_g)``, so row e of ``M F_t``
    with ``F_t = (c_t, -room_t / ANCHOR) / rate_t`` bounds the step: the pace is that of
    the GPU which holds e, no GPU is taken for a faster one. Row g says the same of GPU
    g itself, times its `unit`.

    M is positive semidefinite (minus J/G for replicas on equal GPUs, since the shares
    of an expert sum to 1) and ``M equal_left = equal_right``; with replicas
    ``low <= M box / unit <= high`` instead of the equation for slots.

    Attributes
    ----------
    rows
        F, us ``[steps, n]``, n = experts (+ GPUs if unequal).
    kappa, bound, weights
        Offset of each step in us, its one-step bound lb in us, its weight, ``[steps]``.
    experts, gpus, slots
        Sizes; slots of each GPU, int64 ``[gpus]``.
    pace
        Capacity that GPU g gains in a us, over ``rate_t``, ``[gpus]``; ones where GPUs
        are equal and where experts have replicas.
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
    pace: Floats
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
    def unit(self) -> Floats:
        """Excess of each row per us of delay: a GPU's own row is scaled, ``[n]``."""
        return np.where(np.arange(self.size) < self.experts, 1.0, ANCHOR)

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
        stacked = np.vstack([shares, ANCHOR * np.eye(self.gpus)])
        return np.asarray((stacked / self.pace) @ stacked.T)


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
    slots = kinds.slots[kinds.of_gpu]
    gpus = len(slots)
    steps, experts = least.cost.shape
    joint = len(kinds.members) > 1
    replicas = int(slots.sum()) > experts
    room, rates = lines(least, bound, np.maximum(working, bound * (1 + 1e-9)))
    rate, pace = _common(rates, joint and not replicas)
    pace = pace[kinds.of_gpu]
    one = np.ones(experts)
    if joint:
        rows = np.hstack([least.cost, -room[kinds.of_gpu].T / ANCHOR]) / rate[:, None]
        kappa = np.zeros(steps)
        per_slot = np.concatenate([one, -slots / ANCHOR])
        names = np.concatenate([0 * one, pace / ANCHOR])
        whole = np.concatenate([one, np.full(gpus, ANCHOR)])
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
        pace=pace,
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


def _common(rates: Floats, paced: bool) -> tuple[Floats, Floats]:
    """Split rates ``[kinds, steps]`` into one a step and a pace of each kind.

    Their product is at least the rate, whatever the paces are.
    """
    pace = np.ones(len(rates))
    if paced and rates.size:
        pace = np.maximum(rates.mean(axis=1) / max(rates.mean(), 1e-300), 0.05)
    return np.maximum((rates / pace[:, None]).max(axis=0), 1e-9), pace


def lines(least: Minorant, bound: Floats, working: Floats) -> tuple[Floats, Floats]:
    """Lines above the capacity of each kind, both ``[kinds, steps]``.

    Returns
    -------
    tuple
        Room: cost that fits within `bound` us; rate: cost that fits more for each us
        after that. With a rate of 0 any cost fits.
    """
    from gemopt.bounds.steps.kernels import line_into

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
    slack = 1e-9 * (1 + np.abs(room)) + least.lost[None, :]
    return room + slack, rate
