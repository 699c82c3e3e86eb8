"""Negative part of a slowly changing symmetric matrix, for `first_order`.

Near the solution M has a few dozen directions of eigenvalue 0, so the negative part of
what is projected has low rank, and its eigenvectors hardly move in an iteration. A
Chebyshev filter turns those of the iteration before towards the new ones. The result
is approximate: only the solver uses it, no certificate does.

References
----------
Zhou, Saad, Tiago and Chelikowsky, Self-consistent-field calculations using
Chebyshev-filtered subspace iteration, 2006.
"""

from __future__ import annotations

import numpy as np

from gemopt.bounds.steps.minorant import Floats

_SPARE = 12  #: eigenvectors kept beside those with negative eigenvalues
_MOST = 0.65  #: share of all eigenvectors; a full decomposition is faster above
_REFRESH = 20  #: every so many calls all eigenvectors are computed anew
_LEAST_SIZE = 60  #: a full decomposition is faster below


class NegativePart:
    """Call it with one matrix after another; each call returns ``[n, n]``."""

    def __init__(self) -> None:
        self.vectors = np.zeros((0, 0))  # [n, k], of the k least eigenvalues
        self.top = self.kept = 0.0  # largest eigenvalue, largest of those kept
        self.left = 0  # calls until the next refresh

    def __call__(self, a: Floats) -> Floats:
        """Sum of the negative eigenvalues' parts of `a`, symmetric ``[n, n]``."""
        if self.left > 0:
            self.left -= 1
            values = self._follow(a)
        else:
            values = self._anew(a)
        low = values < 0
        if low.sum() > len(values) - _SPARE // 2 or self.kept > 0.5 * self.top:
            self.left = 0  # too few kept, or one of them is not among the least
        vectors = self.vectors[:, : int(low.sum())]
        return np.asarray((vectors * values[low]) @ vectors.T)

    def _anew(self, a: Floats) -> Floats:
        values, vectors = np.linalg.eigh(a)
        keep = int((values < 0).sum()) + _SPARE
        if len(a) >= _LEAST_SIZE and keep <= _MOST * len(a):
            self.left = _REFRESH
            self.top, values = float(values[-1]), values[:keep]
            self.kept = float(values[-1])
            vectors = np.ascontiguousarray(vectors[:, :keep])
        self.vectors = vectors
        return np.asarray(values)

    def _follow(self, a: Floats) -> Floats:
        """Ritz values after a filter of degree 2, which damps eigenvalues from `kept`
        to a little above `top`."""
        high = 1.1 * self.top
        low = max(self.kept, 1e-3 * high)
        middle, half = 0.5 * (high + low), 0.5 * (high - low)
        once = (a @ self.vectors - middle * self.vectors) / half
        twice = (a @ once - middle * once) * (2 / half) - self.vectors
        basis = np.linalg.qr(twice)[0]
        values, turn = np.linalg.eigh(basis.T @ (a @ basis))
        self.vectors, self.kept = basis @ turn, float(values[-1])
        return np.asarray(values)
