"""First-order solver of bound C: ADMM on the semidefinite program.

Three copies of M carry one constraint each: P is positive semidefinite, Q keeps the
limits of single entries, Y = M F' the steps. M itself keeps the equations; its update
is exact in the eigenbasis of F'F, so one iteration costs one eigen-decomposition, or
an update of the one before, and a few matrix products. Multipliers of P and Y are dual
feasible at every iteration, which is why the certificate is close from early on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gemopt.bounds.certificate import Certificate, certified
from gemopt.bounds.minorant import Floats
from gemopt.bounds.negative_part import NegativePart
from gemopt.bounds.pairs import Both, in_pairs, in_turn
from gemopt.bounds.program import ANCHOR, Program

_RHO = 10.0  #: step of the entries and of the semidefinite copy
_RHO_ROWS = 0.03  #: step of the rows
_RELAX = 1.9  #: over-relaxation
_CHECK_GROWTH = 1.2  #: certify every 1.2 times as many iterations


@dataclass(frozen=True)
class Solved:
    """The best bound found, in us, and the dual point that proves it."""

    value: float
    certificate: Certificate | None
    iterations: int


def solve(
    p: Program,
    start: Floats,
    *,
    seconds: float,
    iterations: int,
    target: float = np.inf,
    stop: Callable[[], bool] = lambda: False,
) -> Solved:
    """Raise the bound of `p` until the time or the iterations run out.

    Parameters
    ----------
    p
        The program.
    start
        M of a placement, ``[n, n]``; the better, the sooner the bound is good.
    seconds, iterations
        Limits.
    target
        Objective of the best placement, us: nothing above it can be proven.
    stop
        Polled at every iteration.
    """
    with in_pairs(p.size) as both:
        return _raised(p, start, both, seconds, iterations, target, stop)


def _raised(
    p: Program,
    start: Floats,
    both: Both,
    seconds: float,
    iterations: int,
    target: float,
    stop: Callable[[], bool],
) -> Solved:
    """`solve` with a way to run two pieces of work."""
    began = time.perf_counter()
    state = _State(p, start, both)
    best = Solved(p.constant, None, 0)
    due, last, stalled = 8, 0.0, 0
    for iteration in range(1, iterations + 1):
        state.iterate()
        late = time.perf_counter() - began > seconds or stop()
        if iteration < due and iteration < iterations and not late:
            continue
        due = max(iteration + 1, int(iteration * _CHECK_GROWTH))
        dual = state.dual()
        value = certified(p, dual)
        if value > best.value:
            best = Solved(value, dual, iteration)
        stalled = stalled + 1 if abs(value - last) < 1e-8 * abs(value) else 0
        last = value
        if late or stalled >= 3 or best.value >= target * (1 - 1e-9):
            break
    return Solved(best.value, best.certificate, iteration)


class _State:
    """Copies of M and their scaled multipliers."""

    def __init__(self, p: Program, start: Floats, both: Both = in_turn) -> None:
        self.p, self.both = p, both
        self.negative_part = NegativePart()
        n = p.size
        left, right = p.equal_left, p.equal_right
        # M left is fixed, so moving F along it only shifts every row of a step.
        along = p.rows @ left
        rows = p.rows - along @ left.T
        kappa = p.kappa[:, None] - along @ right.T  # [steps, n]
        self.scale = max(float(np.sqrt((rows**2).mean())), 1e-12)
        self.rows, self.kappa = rows / self.scale, kappa / self.scale
        self.mass = p.weights / p.weights.mean()
        self.unit = float(p.weights.mean())
        gram = (self.rows * self.mass[:, None]).T @ self.rows
        gram += np.outer(p.box, p.box) * self._box_weight(gram, p.box)
        k = left.shape[1]
        # Made negative along `left`, so that these directions come first.
        lifted = gram - (1 + np.trace(gram)) * left @ left.T
        basis = np.linalg.eigh(lifted)[1]
        basis[:, :k] = left
        self.k, self.basis = k, basis
        values = np.maximum((basis * (gram @ basis)).sum(axis=0), 0.0)
        values[:k] = 0.0
        self.divisor = 2 * _RHO + 0.5 * _RHO_ROWS * (values[:, None] + values)
        self.fixed = basis.T @ right  # of M in the basis, columns of `left`
        self.m, self.psd, self.entries = start.copy(), start.copy(), start.copy()
        self.y = self.rows @ start
        self.y_box = start @ p.box
        self.u_psd, self.u_entries = np.zeros((n, n)), np.zeros((n, n))
        self.u_y, self.u_box = self._first_weights(), np.zeros(n)
        self._gather()

    def _box_weight(self, gram: Floats, box: Floats) -> float:
        """Weight of the row-sum limits against the steps in the M update."""
        size = float(box @ box)
        self.box_weight = 0.0 if size == 0 else 3.0 * float(np.trace(gram)) / size
        self.box_weight = min(self.box_weight, 1e6)
        return self.box_weight

    def _first_weights(self) -> Floats:
        excess = (self.y - self.kappa) / self.p.unit
        worst = excess.max(axis=1, keepdims=True)
        tied = (excess >= worst - 1e-9) & (worst > 0)
        share = tied / np.maximum(tied.sum(axis=1, keepdims=True), 1)
        return share / self.p.unit / _RHO_ROWS

    def iterate(self) -> None:
        """One iteration: M, then its three copies.

        Both steps are cut into the same two halves for any number of threads.
        """
        k, n = self.k, self.p.size
        halves = slice(0, n // 2), slice(n // 2, n)
        inner, m = np.empty((n, n)), np.empty((n, n))
        total = _RHO * (self.psd - self.u_psd) + self.pull

        def into_basis(half: slice) -> None:
            inner[half] = self.basis[:, half].T @ total @ self.basis
            inner[half] /= self.divisor[half]

        def out_of_basis(half: slice) -> None:
            m[half] = self.basis[half] @ inner @ self.basis.T

        self.both(lambda: into_basis(halves[0]), lambda: into_basis(halves[1]))
        if k:
            inner[:, :k] = self.fixed
            inner[:k, :] = self.fixed.T
        self.both(lambda: out_of_basis(halves[0]), lambda: out_of_basis(halves[1]))
        self.m = m
        self.both(self._project_psd, self._project_rest)

    def _project_psd(self) -> None:
        moved = _RELAX * (self.m - self.psd) + self.psd + self.u_psd
        self.u_psd = self.negative_part(moved - self.p.shift)
        self.psd = moved - self.u_psd

    def _project_rest(self) -> None:
        """Copies of entries and rows, and what they pull M to next."""
        p = self.p
        moved = _RELAX * (self.m - self.entries) + self.entries + self.u_entries
        self.entries = project_entries(p, moved)
        self.u_entries = moved - self.entries
        moved = _RELAX * (self.rows @ self.m - self.y) + self.y + self.u_y
        self.u_y = excess_over(moved - self.kappa, p.unit, 1 / _RHO_ROWS)
        self.y = moved - self.u_y
        if p.replicas:
            moved = _RELAX * (self.m @ p.box) + (1 - _RELAX) * self.y_box + self.u_box
            self.y_box = np.clip(moved, p.low * p.unit, p.high * p.unit)
            self.u_box = moved - self.y_box
        self._gather()

    def _gather(self) -> None:
        rows = (self.y - self.u_y) * self.mass[:, None]
        pull = rows.T @ self.rows
        if self.p.replicas:
            box = self.box_weight * (self.y_box - self.u_box)
            pull += np.outer(box, self.p.box)
        self.pull = 0.5 * _RHO_ROWS * (pull + pull.T)
        self.pull += _RHO * (self.entries - self.u_entries)

    def dual(self) -> Certificate:
        """The dual point of this iteration, in the program's units."""
        p = self.p
        unit = self.scale * self.unit
        w = _RHO_ROWS * self.u_y * self.mass[:, None] * self.unit
        s = -_RHO * self.u_psd * unit
        box = _RHO_ROWS * self.box_weight * self.u_box * unit
        rest = w.T @ p.rows + np.outer(box, p.box)
        rest = 0.5 * (rest + rest.T) - s + _RHO * self.u_entries * unit
        a = rest @ p.equal_left  # what the equations have to cancel
        equal = 2 * a - p.equal_left @ (p.equal_left.T @ a)
        return Certificate(w, equal, box, s)


def project_entries(p: Program, a: Floats) -> Floats:
    """Nearest matrix that keeps the limits of single entries."""
    n = p.experts
    on = np.arange(n)
    q = np.clip(a, 0.0, max(1.0, ANCHOR) * (1 / p.pace).max())
    if p.replicas:
        q[on, on] = _project_diagonal(np.diag(a)[:n], p.gpus, float(p.slots.sum()))
    elif p.joint:
        q[on, on], q[:n, n:] = _project_home(np.diag(a)[:n], a[:n, n:], ANCHOR / p.pace)
        q[n:, :n] = q[:n, n:].T
    else:
        q[on, on] = 1.0
    q[n:, n:] = np.diag(ANCHOR**2 / p.pace[: p.size - n])
    return q


def _project_home(own: Floats, on: Floats, most: Floats) -> tuple[Floats, Floats]:
    """Nearest diagonal ``[n]`` and columns of GPUs ``[n, G]``, which count twice, with
    ``ANCHOR * own = on.sum(axis=1)`` and ``0 <= on <= most``; Newton on the price."""
    price = np.zeros((len(own), 1))
    goal = ANCHOR * own[:, None]
    for _ in range(8):
        x = on + 0.5 * price
        free = ((x > 0) & (x < most)).sum(axis=1, keepdims=True)
        rest = goal - ANCHOR**2 * price - np.clip(x, 0.0, most).sum(axis=1)[:, None]
        price += rest / (ANCHOR**2 + free / 2)
    x = np.clip(on + 0.5 * price, 0.0, most)
    return x.sum(axis=1) / ANCHOR, x


def _project_diagonal(v: Floats, gpus: int, slots: float) -> Floats:
    """Nearest x in [1/G, 1] with ``sum 1/x <= slots``, by bisection on its price."""

    def at(price: float) -> Floats:
        x = np.clip(v, 1 / gpus, 1.0)
        for _ in range(12):  # Newton on x - v = price / x**2, from above the root
            x = np.clip(x - (x - v - price / x**2) / (1 + 2 * price / x**3), 0.01, 2)
        return np.clip(x, 1 / gpus, 1.0)

    x = np.clip(v, 1 / gpus, 1.0)
    if (1 / x).sum() <= slots:
        return x
    low, high = 0.0, 1.0
    for _ in range(25):
        middle = 0.5 * (low + high)
        if (1 / at(middle)).sum() > slots:
            low = middle
        else:
            high = middle
    return at(high)


def excess_over(v: Floats, size: Floats, mass: float) -> Floats:
    """Rows of ``max(v - h size, 0)``, the level h >= 0 of each row being the least that
    leaves a sum, weighed by `size`, of at most `mass`."""
    from gemopt.bounds.kernels import excess_into

    out = np.empty_like(v)
    excess_into(v, size, mass, out)
    return out
