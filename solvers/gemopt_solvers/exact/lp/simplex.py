"""Dual simplex on a condensed tableau, for many small programs that differ a little.

Rows are basic variables, columns nonbasic ones: row i >= 1 of the table t reads
``basic_i = t[i, 0] - sum_j t[i, j] nonbasic_j`` and row 0 is the objective,
``t[0, 0] + sum_j t[0, j] nonbasic_j``. All variables are at least 0; those `GONE` or
`BARRED` must be 0. Costs ``t[0, j]`` of columns that may enter stay at least 0, so that
``t[0, 0]`` is a lower bound at any time. Columns that are gone are dropped; barred ones
stay, as their costs (the prices of equations) are wanted.
"""

import numpy as np

from gemopt.jit import kernel

FREE, BARRED, GONE = 0, 1, 2
OPTIMAL, CUT, INFEASIBLE, LIMIT = 0, 1, 2, 3
_FEASIBLE = 1e-9  #: values this far below 0 count as 0
_PIVOT = 1e-7  #: no smaller entry is divided by
_TIED = 1e-12
_STALLED = 20  #: pivots in a row without a rise, from which costs are shaken
_SHAKE = 1e-10  #: share of the objective that is added to a cost, once to twice
_GOLDEN = 0.6180339887498949


@kernel
def pivot(t: np.ndarray, rows: int, columns: int, r: int, j: int) -> None:
    """Exchange the basic variable of row r and the nonbasic one of column j."""
    own = t[r]
    inverse = 1.0 / own[j]
    own[j] = 1.0
    for k in range(columns + 1):
        own[k] *= inverse
    for i in range(rows + 1):
        row = t[i]
        f = row[j]
        if i == r or f == 0.0:
            continue
        row[j] = 0.0
        if i == 0:  # the objective adds its columns, other rows subtract them
            row[0] += f * own[0]
            for k in range(1, columns + 1):
                row[k] -= f * own[k]
        else:
            for k in range(columns + 1):
                row[k] -= f * own[k]


@kernel
def _entering(
    t: np.ndarray,
    columns: int,
    r: int,
    sign: float,
    column: np.ndarray,
    state: np.ndarray,
) -> int:
    """Column with the least cost per entry of this sign; 0 if there is none."""
    best, at, size = np.inf, 0, 0.0
    for j in range(1, columns + 1):
        a = sign * t[r, j]
        if a > _PIVOT and state[column[j]] == FREE:
            ratio = max(t[0, j], 0.0) / a
            if ratio < best - _TIED or (ratio <= best + _TIED and a > size):
                best, at, size = min(best, ratio), j, a
    return at


@kernel
def _shake(
    t: np.ndarray, columns: int, column: np.ndarray, state: np.ndarray, shaken: int
) -> None:
    """Perturb the costs of the first `shaken` variables, each by its own amount."""
    unit = _SHAKE * max(abs(t[0, 0]), 1.0)
    for j in range(1, columns + 1):
        if column[j] < shaken and state[column[j]] == FREE:
            t[0, j] += unit * (1.0 + column[j] * _GOLDEN % 1.0)


@kernel
def reoptimise(
    t: np.ndarray,  # [>= rows + 1, >= columns + 1], changed
    rows: int,
    columns: int,
    basic: np.ndarray,  # [rows + 1] variable of each row, changed
    column: np.ndarray,  # [columns + 1] variable of each column, changed
    state: np.ndarray,  # [variables] FREE, BARRED or GONE
    limit: float,  # an objective above it ends the work
    most: int,  # pivots at most
    shaken: int,  # so many variables, the first ones, may have their costs shaken
) -> tuple[int, int, int]:
    """Make all basic variables feasible.

    Where many costs are 0 pivots can go round in circles. Costs are then shaken, and
    stay so: the objective is no longer the bound, but its prices prove one.

    Returns
    -------
    tuple
        Status, columns left, and the row that proves it when infeasible.
    """
    highest, stalled = -np.inf, 0
    for _ in range(most):
        if t[0, 0] > highest + _TIED * abs(highest):
            highest, stalled = t[0, 0], 0
        else:
            stalled += 1
            if stalled == _STALLED:
                _shake(t, columns, column, state, shaken)
                stalled = 0
        if t[0, 0] > limit:
            return CUT, columns, 0
        worst, r, sign = _FEASIBLE, 0, 0.0
        for i in range(1, rows + 1):
            b = t[i, 0]
            if -b > worst:
                worst, r, sign = -b, i, -1.0
            elif b > worst and state[basic[i]] != FREE:
                worst, r, sign = b, i, 1.0
        if r == 0:
            return OPTIMAL, columns, 0
        j = _entering(t, columns, r, sign, column, state)
        if j == 0:
            return INFEASIBLE, columns, r
        pivot(t, rows, columns, r, j)
        leaving = basic[r]
        basic[r], column[j] = column[j], leaving
        if state[leaving] == GONE:
            for i in range(rows + 1):
                t[i, j] = t[i, columns]
            column[j] = column[columns]
            columns -= 1
    return LIMIT, columns, 0


@kernel
def without_gone(
    t: np.ndarray, rows: int, columns: int, column: np.ndarray, state: np.ndarray
) -> int:
    """Drop the columns that are gone; return how many stay."""
    j = 1
    while j <= columns:
        if state[column[j]] == GONE:
            for i in range(rows + 1):
                t[i, j] = t[i, columns]
            column[j] = column[columns]
            columns -= 1
        else:
            j += 1
    return columns
