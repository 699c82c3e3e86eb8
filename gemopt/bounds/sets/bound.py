"""Bound D: what every GPU holds is one of finitely many sets of experts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gemopt.bounds.colocation.program import lines
from gemopt.bounds.steps.minorant import Floats, Ints, Minorant

#: Most sets of experts times steps, over all kinds of GPUs, that are enumerated.
MOST_WORK = 500_000_000
#: Seconds that one takes at most, without pruning.
SECONDS_EACH = 1e-9
KEPT = 1500  #: sets that `cheapest` returns, at most twice as many
_ROUNDING = 1e-12  #: relative, of sums over steps


@dataclass(frozen=True)
class SetProgram:
    """Choose sets of experts, each of a kind of GPU; valid without replicas.

    A set S on a GPU of kind k exceeds the one-step bound of step t by
    ``d_t(S, k) = max(0, sum_{e in S} cost[k, e, t] - room[k, t])`` us. Relaxed, set S
    is taken ``x(S, k) >= 0`` times, so that every expert is in one set, every kind of
    GPU is used by all its members, and for every expert e

        delay_t >= sum_{(S, k) with e in S} x(S, k) d_t(S, k),

    the time of the GPU that holds e. The same x serves all steps and every set pays for
    its own excess, where bound C only sees the mean load: its matrix is the sum of
    ``x(S, k) 1_S 1_S'``, so D is at least as strong.

    Attributes
    ----------
    cost, room
        us ``[kinds, experts, steps]`` and ``[kinds, steps]``; steps are padded with
        zeros to a power of two.
    weights
        Of each step, ``[steps]``, 0 in the padding.
    constant
        What the one-step bounds give, us.
    of_gpu, members, slots
        Kind of each GPU; GPUs and slots of each kind.
    """

    cost: Floats
    room: Floats
    weights: Floats
    constant: float
    of_gpu: Ints
    members: Ints
    slots: Ints


@dataclass(frozen=True)
class SetCertificate:
    """A dual point of bound D: nothing needs to hold of it for the bound to be valid.

    Attributes
    ----------
    rows
        Weight of the delay of each expert's GPU, then of each kind's mean delay,
        ``[experts + kinds, steps]``.
    prices
        What an expert is worth, us ``[experts]``.
    """

    rows: Floats
    prices: Floats


def enumeration(least: Minorant) -> int:
    """Sets of experts that GPUs can hold, over all kinds, times steps."""
    steps, experts = least.cost.shape
    slots = least.kinds.slots.tolist()
    return steps * sum(math.comb(experts, size) for size in slots)


def set_program(
    least: Minorant, bound: Floats, working: Floats, weights: Floats
) -> SetProgram:
    """Build the program of one layer; arguments as for `colocation.program`."""
    used = (weights > 0) & (least.cost.sum(axis=1) > 0)
    kinds, constant = least.kinds, float(weights @ bound)
    least, bound, working = least.kept(used), bound[used], working[used]
    room, rate = lines(least, bound, np.maximum(working, bound * (1 + 1e-9)))
    rate = np.maximum(rate, 1e-9)
    steps = len(bound)
    padding = max(16, 1 << max(0, steps - 1).bit_length()) - steps
    cost = least.cost.T / rate[:, None, :]
    return SetProgram(
        cost=np.pad(cost, ((0, 0), (0, 0), (0, padding))),
        room=np.pad(room / rate, ((0, 0), (0, padding))),
        weights=np.pad(weights[used], (0, padding)),
        constant=constant,
        of_gpu=kinds.of_gpu,
        members=kinds.members,
        slots=kinds.slots,
    )


def certified_sets(p: SetProgram, dual: SetCertificate) -> float:
    """Lower bound on the layer's objective, in us, that `dual` proves.

    With ``w >= 0`` of sum at most weight_t in each step (enforced here) and any prices
    u, the objective is at least
    ``constant + sum_e u_e + sum_k members_k min_S (sum_t w_t(S, k) d_t(S, k) - u(S))``,
    ``w_t(S, k)`` being the weight of the experts of S and of a GPU of kind k. The
    minimum is over all sets and exact.
    """
    return value_of(p, dual, cheapest(p, dual, -np.inf))


def value_of(
    p: SetProgram, dual: SetCertificate, found: list[tuple[float, Ints, Floats]]
) -> float:
    """Bound that `dual` proves, in us, given what `cheapest` found for it."""
    least = np.array([value for value, _, _ in found])
    total = float(dual.prices.sum() + p.members @ least)
    size = np.abs(dual.prices).sum() + p.members @ np.abs(least)
    return p.constant + total - _ROUNDING * float(size)


def feasible_rows(p: SetProgram, rows: Floats) -> Floats:
    """Rows that are no negative numbers and sum to at most the weight of each step."""
    w = np.maximum(rows, 0.0)
    return np.asarray(
        w * np.minimum(1.0, p.weights / np.maximum(w.sum(axis=0), 1e-300))
    )


def cheapest(
    p: SetProgram, dual: SetCertificate, limit: float
) -> list[tuple[float, Ints, Floats]]:
    """Least excess less prices of a set, for each kind, with the sets below `limit`.

    Returns
    -------
    list
        For each kind the least value, us, then experts ``[sets, slots]`` and values
        ``[sets]`` of the sets found.
    """
    from gemopt.bounds.sets.kernels import cheapest_sets

    w = feasible_rows(p, dual.rows)
    experts = p.cost.shape[1]
    order = np.argsort(-dual.prices, kind="stable")
    out = []
    for k, size in enumerate(p.slots.tolist()):
        if size == 0:
            out.append((0.0, np.zeros((0, 0), np.int64), np.zeros(0)))
            continue
        cost = np.ascontiguousarray(p.cost[k][order])
        sets, values = np.empty((2 * KEPT, size), np.int64), np.empty(2 * KEPT)
        least, found = cheapest_sets(
            cost,
            p.room[k],
            np.ascontiguousarray(w[:experts][order]),
            w[experts + k] / p.members[k],
            dual.prices[order],
            _lightest(cost, size),
            limit,
            sets,
            values,
        )
        found_sets = np.sort(order[sets[:found]], axis=1)
        out.append((least, found_sets, values[:found]))
    return out


def _lightest(cost: Floats, size: int) -> Floats:
    """Sum of the j lightest of the experts from e on, ``[size + 1, E + 1, steps]``."""
    experts, steps = cost.shape
    sums = np.zeros((size + 1, experts + 1, steps))
    for e in range(experts):
        ordered = np.sort(cost[e:], axis=0)[:size].cumsum(axis=0)
        sums[1 : len(ordered) + 1, e] = ordered
    return sums
