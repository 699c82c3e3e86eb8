"""Latency models of all GPUs as flat arrays that the kernels read."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Floats, Ints
from gemopt.latency.base import CURVE, LatencyModel, Row, regime_at

MAX_CELLS = 2**14
SMALLEST_CELL_INVERSE = 2**10


class LatencyTables(NamedTuple):
    """One row for each GPU and kernel configuration.

    Row r of GPU g lies in ``gpu_row[g] <= r < gpu_row[g + 1]``; the first one whose
    `max_step_tokens` is at least the tokens of the step applies. Pieces of a curve lie
    in ``piece_start[r] <= i < piece_start[r + 1]``. Where all limits of a curve lie on
    a grid of 1 / `grid_inverse` tokens (a power of two, so that the quotient is exact),
    cell ``min(ceil(tokens * grid_inverse), cells - 1)`` holds its piece.
    """

    gpu_row: NDArray[np.int64]  # [gpus + 1]
    max_step_tokens: NDArray[np.float64]  # [rows]
    kind: NDArray[np.int64]  # [rows] CURVE, LINE or TWO_LINES
    tile: NDArray[np.float64]  # [rows] tokens
    lines: NDArray[np.float64]  # [rows, 2, 4] us: base, active, tile, token
    power: NDArray[np.float64]  # [rows] 0 = plain maximum
    piece_start: NDArray[np.int64]  # [rows + 1]
    upto: NDArray[np.float64]  # [pieces] tokens
    intercept: NDArray[np.float64]  # [pieces] us
    slope: NDArray[np.float64]  # [pieces] us per token
    grid_inverse: NDArray[np.float64]  # [rows] cells per token; 0 = no grid
    cell_start: NDArray[np.int64]  # [rows + 1]
    cell_intercept: NDArray[np.float64]  # [cells] us
    cell_slope: NDArray[np.float64]  # [cells] us per token


def compile_tables(models: Sequence[LatencyModel]) -> LatencyTables:
    """Flatten one latency model per GPU into `LatencyTables`."""
    per_gpu = [model.rows() for model in models]
    rows = [row for group in per_gpu for row in group]
    lines = np.zeros((len(rows), 2, 4))
    for r, row in enumerate(rows):
        for i, line in enumerate(row.lines):
            lines[r, i] = line.coefficients()
    grids = [_grid(row) for row in rows]
    piece_start = _starts([len(row.upto) for row in rows])
    intercept = np.array([a for row in rows for a in row.intercept], dtype=np.float64)
    slope = np.array([b for row in rows for b in row.slope], dtype=np.float64)
    at = np.concatenate(
        [cells + first for (_, cells), first in zip(grids, piece_start, strict=False)]
    )
    return LatencyTables(
        gpu_row=_starts([len(group) for group in per_gpu]),
        max_step_tokens=np.array([row.max_step_tokens for row in rows]),
        kind=np.array([row.kind for row in rows], dtype=np.int64),
        tile=np.array([row.tile for row in rows], dtype=np.float64),
        lines=lines,
        power=np.array([row.power for row in rows]),
        piece_start=piece_start,
        upto=np.array([x for row in rows for x in row.upto], dtype=np.float64),
        intercept=intercept,
        slope=slope,
        grid_inverse=np.array([inverse for inverse, _ in grids]),
        cell_start=_starts([len(cells) for _, cells in grids]),
        cell_intercept=intercept[at],
        cell_slope=slope[at],
    )


def rows_of_steps(tables: LatencyTables, step_tokens: Ints | Floats) -> Ints:
    """Row that rules each GPU (or class) at each step, int64 ``[gpus, steps]``.

    Parameters
    ----------
    tables
        Tables of the GPUs.
    step_tokens
        Token-expert assignments of each step on all GPUs, ``[steps]``.
    """
    ends = zip(tables.gpu_row[:-1], tables.gpu_row[1:], strict=True)
    return np.array(
        [
            first + regime_at(tables.max_step_tokens[first:end], step_tokens)
            for first, end in ends
        ],
        dtype=np.int64,
    )


def _starts(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _grid(row: Row) -> tuple[float, NDArray[np.int64]]:
    """Return cells per token and the piece of each cell; 0 and none without a grid."""
    none = np.empty(0, dtype=np.int64)
    limits = np.asarray(row.upto[:-1])
    units = limits * SMALLEST_CELL_INVERSE
    if row.kind != CURVE or not len(limits) or units[-1] > 2**62:
        return 0.0, none
    if (units != np.floor(units)).any():
        return 0.0, none
    whole = int(np.bitwise_or.reduce(units.astype(np.int64)))
    width = (whole & -whole) / SMALLEST_CELL_INVERSE  # largest power of two in all
    if width == 0 or limits[-1] / width > MAX_CELLS:
        return 0.0, none
    cells = np.arange(int(limits[-1] / width) + 2) * width
    return 1.0 / width, np.searchsorted(limits, cells, side="left").astype(np.int64)
