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

from gemopt.bounds.colocation.certificate import Certificate, certified
from gemopt.bounds.colocation.negative_part import NegativePart
from gemopt.bounds.colocation.program import ANCHOR, Program
from gemopt.bounds.colocation.two_threads import Both, in_pairs, in_turn
from gemopt.bounds.steps.minorant import Floats

_RHO = 10.0  #: step of the entries and of the semidefinite copy
_RHO_ROWS = 0.03  #: step of the rows
_BOX = 0.01  #: weight of the row-sum limits, which seldom bind, against all rows
_RELAX = 1.9  #: over-relaxation
_SINGLE_SIZE = 60  #: matrices of so many rows are kept in single precision
_ESCAPED = 1e3  #: M this many times beyond a placement's: the iteration diverges
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

    Returns
    -------
    Solved
        The best bound of all iterations that were looked at; should they diverge, they
        end early with what was proven before.
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
        if state.escaped():
            break
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
        # The same of `box`; else `left` would be no eigenvectors of the M update.
        self.box = p.box - left @ (left.T @ p.box)
        fixed = right @ (left.T @ p.box)  # the rest of M box
        self.low, self.high = p.low * p.unit - fixed, p.high * p.unit - fixed
        # Nor does a scale that the limits of `box` almost fix tell of the steps.
        box = self.box / max(float(np.linalg.norm(self.box)), 1e-300)
        free = rows - np.outer(rows @ box, box)
        self.scale = max(float(np.sqrt((free**2).mean())), 1e-12)
        self.rows, self.kappa = rows / self.scale, kappa / self.scale
        self.mass = p.weights / p.weights.mean()
        self.unit = float(p.weights.mean())
        gram = (self.rows * self.mass[:, None]).T @ self.rows
        gram += np.outer(self.box, self.box) * self._box_weight(gram, self.box)
        k = left.shape[1]
        # Made negative along `left`, so that these directions come first.
        lifted = gram - (1 + np.trace(gram)) * left @ left.T
        basis = np.linalg.eigh(lifted)[1]
        basis[:, :k] = left
        self.k = k
        values = np.maximum((basis * (gram @ basis)).sum(axis=0), 0.0)
        values[:k] = 0.0
        divisor = 2 * _RHO + 0.5 * _RHO_ROWS * (values[:, None] + values)
        self.u_box, self.y_box = np.zeros(n), start @ self.box
        y = self.rows @ start
        u_y = self._first_weights(y)
        # Single precision halves the time of large products, and no proof rests on it.
        real = np.dtype(np.float32 if n >= _SINGLE_SIZE else np.float64)
        self.basis, self.divisor = basis.astype(real), divisor.astype(real)
        self.fixed = (basis.T @ right).astype(real)  # of M, columns of `left`
        self.rows, self.kappa = self.rows.astype(real), self.kappa.astype(real)
        self.size, self.mass = p.unit.astype(real), self.mass.astype(real)
        self.y, self.u_y = y.astype(real), u_y.astype(real)
        self.most = _ESCAPED * max(1.0, float(np.abs(start).max()))
        self.m, self.psd, self.entries = (start.astype(real) for _ in range(3))
        self.u_psd, self.u_entries = np.zeros((2, n, n), dtype=real)
        self._gather((self.y - self.u_y) * self.mass[:, None])

    def _box_weight(self, gram: Floats, box: Floats) -> float:
        """Weight of the row-sum limits against the steps in the M update."""
        size = float(box @ box)
        self.box_weight = 0.0 if size == 0 else _BOX * float(np.trace(gram)) / size
        self.box_weight = min(self.box_weight, 1e6)
        return self.box_weight

    def _first_weights(self, y: Floats) -> Floats:
        excess = (y - self.kappa) / self.p.unit
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
        inner, self.m = np.empty_like(self.m), np.empty_like(self.m)
        total = self.psd - self.u_psd
        total *= _RHO
        total += self.pull

        def into_basis(half: slice) -> None:
            np.matmul(self.basis[:, half].T @ total, self.basis, out=inner[half])
            inner[half] /= self.divisor[half]

        def out_of_basis(half: slice) -> None:
            np.matmul(self.basis[half] @ inner, self.basis.T, out=self.m[half])

        self.both(lambda: into_basis(halves[0]), lambda: into_basis(halves[1]))
        if k:
            inner[:, :k] = self.fixed
            inner[:k, :] = self.fixed.T
        self.both(lambda: out_of_basis(halves[0]), lambda: out_of_basis(halves[1]))
        self.both(self._project_psd, self._project_rest)

    def escaped(self) -> bool:
        """Whether M left every bound; what came before is still proven."""
        inside = float(self.m.max()) < self.most and float(self.m.min()) > -self.most
        return not inside  # also if M holds a NaN

    def _project_psd(self) -> None:
        moved = _ahead(self.m, self.psd, self.u_psd)
        shift = self.p.shift
        self.u_psd = self.negative_part(moved - shift if shift else moved)
        moved -= self.u_psd
        self.psd = moved

    def _project_rest(self) -> None:
        """Copies of entries and rows, and what they pull M to next."""
        from gemopt.bounds.colocation.projection_kernels import rows_into

        p = self.p
        moved = _ahead(self.m, self.entries, self.u_entries)
        self.entries = project_entries(p, moved)
        moved -= self.entries
        self.u_entries = moved
        back = np.empty_like(self.y)
        rows_into(
            self.rows @ self.m, self.kappa, self.size, self.mass, 1 / _RHO_ROWS, _RELAX,
            self.y, self.u_y, back,
        )  # fmt: skip
        if p.replicas:
            self.y_box += self.u_box + _RELAX * (self.m @ self.box - self.y_box)
            box = np.clip(self.y_box, self.low, self.high)
            self.y_box, self.u_box = box, self.y_box - box
        self._gather(back)

    def _gather(self, back: Floats) -> None:
        pull = back.T @ self.rows
        if self.p.replicas:
            box = self.box_weight * (self.y_box - self.u_box)
            pull += np.outer(box, self.box)
        self.pull = pull + pull.T
        self.pull *= 0.5 * _RHO_ROWS
        pull = np.subtract(self.entries, self.u_entries, out=pull)
        pull *= _RHO
        self.pull += pull

    def dual(self) -> Certificate:
        """The dual point of this iteration, in the program's units."""
        p = self.p
        unit = self.scale * self.unit
        double = np.float64
        w = _RHO_ROWS * self.unit * self.u_y.astype(double) * self.mass[:, None]
        s = -_RHO * unit * self.u_psd.astype(double)
        box = _RHO_ROWS * self.box_weight * self.u_box * unit
        rest = w.T @ p.rows + np.outer(box, p.box)
        rest = 0.5 * (rest + rest.T) - s + _RHO * unit * self.u_entries.astype(double)
        a = rest @ p.equal_left  # what the equations have to cancel
        equal = 2 * a - p.equal_left @ (p.equal_left.T @ a)
        return Certificate(w, equal, box, s)


def _ahead(m: Floats, copy: Floats, multiplier: Floats) -> Floats:
    """Over-relaxed point that a copy of M is projected from."""
    moved = m - copy
    moved *= _RELAX
    moved += copy
    moved += multiplier
    return moved


def project_entries(p: Program, a: Floats) -> Floats:
    """Nearest matrix that keeps the limits of single entries."""
    from gemopt.bounds.colocation.projection_kernels import home_into, shares_into

    n = p.experts
    on = np.arange(n)
    q = np.clip(a, 0.0, max(1.0, ANCHOR) * (1 / p.pace).max())
    own = np.ones(n, dtype=a.dtype)
    if p.replicas:
        shares_into(np.diag(a)[:n].copy(), 1 / p.gpus, float(p.slots.sum()), own)
    elif p.joint:
        most = (ANCHOR / p.pace).astype(a.dtype)
        homes = np.empty((n, p.gpus), dtype=a.dtype)
        home_into(np.diag(a)[:n].copy(), a[:n, n:].copy(), most, ANCHOR, own, homes)
        q[:n, n:], q[n:, :n] = homes, homes.T
    q[on, on] = own
    q[n:, n:] = np.diag(ANCHOR**2 / p.pace[: p.size - n])
    return q


def excess_over(v: Floats, size: Floats, mass: float) -> Floats:
    """Rows of ``max(v - h size, 0)``, the level h >= 0 of each row being the least that
    leaves a sum, weighed by `size`, of at most `mass`."""
    from gemopt.bounds.colocation.projection_kernels import excess_into

    out = np.empty_like(v)
    excess_into(v, size, mass, out)
    return out
