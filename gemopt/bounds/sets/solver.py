"""Solver of bound D: ADMM over a growing list of sets, started from bound C."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, hstack

from gemopt.bounds.colocation.certificate import Certificate, home_costs, residual
from gemopt.bounds.colocation.first_order import excess_over
from gemopt.bounds.colocation.program import ANCHOR, Program
from gemopt.bounds.colocation.two_threads import in_pairs
from gemopt.bounds.sets.bound import (
    SetCertificate,
    SetProgram,
    cheapest,
    value_of,
)
from gemopt.bounds.steps.minorant import Floats, Ints

_ITERATIONS = 100  #: of ADMM between two searches for sets
_RELAX = 1.6
_AT_FIRST, _MORE = 6000, 1600  #: sets of all kinds at the start, and added in a round
_ACTIVE = 700  #: sets that ADMM works on: the cheapest
_NEAR = 0.02  #: sets within this part of a GPU's mean excess are kept
_STALLED = 1e-5  #: rounds end when the bound rises by a smaller part of the excess


@in_pairs(0)
def solve_sets(
    p: SetProgram,
    start: SetCertificate,
    shares: Floats | None,
    *,
    seconds: float,
    rounds: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[float, SetCertificate]:
    """Raise the bound of `p` until the time or the rounds run out.

    Each round solves the relaxation over the sets at hand, prices experts by a linear
    program, and looks for all sets that these prices overlook. Only the last step
    decides on the bound that is returned. BLAS uses one thread meanwhile, as in
    `gemopt.bounds.colocation.two_threads.in_pairs`.

    Parameters
    ----------
    p
        The program.
    start
        A dual point, as from `from_co_location`.
    shares
        Of each expert on each GPU in a good placement, ``[experts, gpus]``.
    seconds, rounds
        Limits.
    stop
        Polled in every round.

    Returns
    -------
    tuple
        The bound, us, and the dual point that proves it.
    """
    began = time.perf_counter()
    found = cheapest(p, start, np.inf)
    best, dual, rows = value_of(p, start, found), start, start.rows
    pool = _Pool(p)
    if shares is not None:
        for gpu, kind in enumerate(p.of_gpu.tolist()):
            pool.add(kind, np.flatnonzero(shares[:, gpu])[None])
    for k, (_, sets, values) in enumerate(found):
        order = np.argsort(values)[: _AT_FIRST // len(found)]
        pool.add(k, sets[order])
    spent = 0.0  # of a round, which is not cut short
    for turn in range(rounds):
        turned = time.perf_counter()
        if turned - began + spent > seconds or stop():
            break
        if turn > 0:
            rows = pool.relaxed(rows)
        priced = pool.prices(rows)
        if priced is None:
            break
        excess, prices, own = priced
        trial = SetCertificate(rows, prices)
        near = _NEAR * excess / p.members.sum()
        found = cheapest(p, trial, float(own.max()) + near)
        value = value_of(p, trial, found)
        rise = value - best
        if rise > 0:
            best, dual = value, trial
        added = 0
        for k, (_, sets, values) in enumerate(found):
            order = np.argsort(values)[: _MORE // len(found)]
            added += pool.add(k, sets[order][values[order] < own[k] + near])
        if turn > 0 and added == 0 and rise < _STALLED * excess:
            break
        spent = time.perf_counter() - turned
    return best, dual


@in_pairs(0)
def from_co_location(p: SetProgram, c: Program, dual: Certificate) -> SetCertificate:
    """Dual point of D that proves at least what `dual` proves of C."""
    w, r = residual(c, dual)
    n = c.experts
    prices = (dual.equal * c.equal_right).sum(axis=1)[:n] - w[:, :n].T @ c.kappa
    costs = home_costs(c, r)
    if c.joint:
        right = np.concatenate([np.ones(n), c.slots])
        on = np.arange(costs.size)
        one = np.ones(costs.size)
        expert = csr_matrix((one, (on, on // c.gpus)), shape=(costs.size, n))
        gpu = csr_matrix((one, (on, on % c.gpus)), shape=(costs.size, c.gpus))
        left: Any = hstack([expert, gpu]).T
        found = linprog(costs.ravel(), A_eq=left, b_eq=right, method="highs-ds")
        prices = prices + found.eqlin.marginals[:n]
    else:
        prices = prices + costs[:, 0]
    rows = np.zeros((n + len(p.members), p.weights.size))
    steps = len(w)
    rows[:n, :steps] = w[:, :n].T
    if c.joint:
        np.add.at(rows[:, :steps], n + p.of_gpu, ANCHOR * w[:, n:].T)
    return SetCertificate(rows, prices)


class _Pool:
    """Sets at hand and how often the relaxation takes each of them."""

    def __init__(self, p: SetProgram) -> None:
        self.p = p
        self.known: set[tuple[int, ...]] = set()
        experts, kinds = p.cost.shape[1], len(p.members)
        self.holds = np.zeros((0, experts + kinds))  # one row a set: experts and kind
        self.excess = np.zeros((0, p.weights.size))
        self.taken, self.slack = np.zeros(0), np.zeros(0)
        self.active = np.zeros(0, dtype=np.int64)
        self.right = np.concatenate([np.ones(experts), p.members.astype(np.float64)])

    def add(self, kind: int, sets: Ints) -> int:
        """Add the sets that are new, experts ``[sets, slots]``; return how many."""
        p, experts = self.p, self.p.cost.shape[1]
        names = [(kind, *row) for row in sets.tolist()]
        fresh = [i for i, name in enumerate(names) if name not in self.known]
        if not fresh:
            return 0
        self.known.update(names[i] for i in fresh)
        new = sets[fresh]
        holds = np.zeros((len(new), self.holds.shape[1]))
        np.put_along_axis(holds, new, 1.0, axis=1)
        holds[:, experts + kind] = 1.0
        excess = np.maximum(holds[:, :experts] @ p.cost[kind] - p.room[kind], 0.0)
        self.holds = np.vstack([self.holds, holds])
        self.excess = np.vstack([self.excess, excess])
        self.taken = np.concatenate([self.taken, np.zeros(len(new))])
        self.slack = np.concatenate([self.slack, np.zeros(len(new))])
        return len(new)

    def _shares(self) -> Floats:
        """Part of each row of the certificate that a set bears ``[sets, rows]``."""
        return self.holds / np.where(self.right > 1, self.right, 1.0)

    def prices(self, rows: Floats) -> tuple[float, Floats, Floats] | None:
        """Least excess of a mix of the sets, us, prices of experts and of kinds.

        None if no mix holds every expert once.
        """
        costs = (self.excess * (self._shares() @ rows)).sum(axis=1)
        left: Any = csr_matrix(self.holds).T
        found = linprog(costs, A_eq=left, b_eq=self.right, method="highs-ds")
        if found.fun is None:
            return None
        both = found.eqlin.marginals
        experts = self.p.cost.shape[1]
        reduced = costs - self.holds @ both
        reduced[self.taken > 0] = -np.inf
        self.active = np.argsort(reduced, kind="stable")[:_ACTIVE]
        return float(found.fun), both[:experts], both[experts:]

    def relaxed(self, rows: Floats) -> Floats:
        """Rows of the dual after some iterations on the sets at hand.

        Minimise ``sum_t weight_t max_i Y_it`` over sets taken x >= 0 with
        ``holds' x = right`` and ``Y = shares' diag(x) excess``, copies of x and Y.
        """
        p = self.p
        mean = float(p.weights.sum() / max((p.weights > 0).sum(), 1))
        mass = p.weights / mean
        held, excess = self.holds[self.active], self.excess[self.active]
        shares = self._shares()[self.active]
        size = (excess**2 * mass).sum(axis=1).mean() * self.p.slots.mean()
        scale = max(float(np.sqrt(size)), 1e-12)
        excess = excess / scale
        gram = (shares @ shares.T) * ((excess * mass) @ excess.T)
        factor = cho_factor(gram + np.eye(len(gram)))
        bent = cho_solve(factor, held)
        middle = np.linalg.pinv(held.T @ bent)
        sparse: Any = csr_matrix(shares)
        spread = sparse.T.tocsr()
        u = rows / np.maximum(mass * mean, 1e-300)
        x, slack = self.taken[self.active], self.slack[self.active]
        y = spread.multiply(x).tocsr() @ excess
        for _ in range(_ITERATIONS):
            pull = (excess * (sparse @ ((y - u) * mass))).sum(axis=1) + x - slack
            new = cho_solve(factor, pull)
            new -= bent @ (middle @ (held.T @ new - self.right))
            ahead = _RELAX * new + (1 - _RELAX) * x + slack
            x = np.maximum(ahead, 0.0)
            slack = ahead - x
            load = spread.multiply(new).tocsr() @ excess
            moved = _RELAX * load + (1 - _RELAX) * y + u
            u = excess_over(np.ascontiguousarray(moved.T), np.ones(len(u)), 1.0).T
            y = moved - u
        self.taken[:], self.slack[:] = 0.0, 0.0
        self.taken[self.active], self.slack[self.active] = x, slack
        return np.asarray(u * mass * mean)
