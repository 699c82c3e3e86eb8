"""How many tokens a GPU can take within a given time, for every latency family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemopt.latency.base import CURVE, LatencyModel, Line, Row

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Piece = tuple[float, float, float]  #: (upto tokens, intercept us, slope us a token)


class Capacities(NamedTuple):
    """Lower curves in tokens of every row of the latency tables.

    Latency at n tokens is at least that of each curve of its row; the curves of row r
    lie in ``row_curve[r] <= c < row_curve[r + 1]``, their pieces, which cover
    ``(begin, end]``, in ``curve_piece[c] <= i < curve_piece[c + 1]``.
    """

    row_curve: Ints  # [rows + 1]
    curve_piece: Ints  # [curves + 1]
    begin: Floats  # [pieces] tokens
    end: Floats  # [pieces] tokens
    intercept: Floats  # [pieces] us
    slope: Floats  # [pieces] us per token
    lowest: Floats  # [pieces] us, least latency on this piece and all later ones


def compile_capacities(models: Sequence[LatencyModel]) -> Capacities:
    """Build the lower curves of one latency model per GPU (or per GPU class)."""
    rows = [row for model in models for row in model.rows()]
    curves = [_curves(row) for row in rows]
    flat = [pieces for group in curves for pieces in group]
    lowest = [_lowest(pieces) for pieces in flat]
    return Capacities(
        row_curve=_starts([len(group) for group in curves]),
        curve_piece=_starts([len(pieces) for pieces in flat]),
        begin=np.array(
            [x for p in flat for x in (0.0, *(end for end, _, _ in p[:-1]))]
        ),
        end=np.array([end for p in flat for end, _, _ in p]),
        intercept=np.array([a for p in flat for _, a, _ in p]),
        slope=np.array([b for p in flat for _, _, b in p]),
        lowest=np.array([low for group in lowest for low in group]),
    )


def _curves(row: Row) -> list[list[Piece]]:
    if row.kind == CURVE:
        return [list(zip(row.upto, row.intercept, row.slope, strict=True))]
    return [_line_pieces(line, row.tile) for line in row.lines]


def _line_pieces(line: Line, tile: int) -> list[Piece]:
    """Least latency of a line when only the tokens are known.

    Tokens on one expert: none, one tile, or tokens / tile tiles rounded down to a
    fraction. More experts or replicas only add.
    """
    base, active, per_tile, per_token = line.coefficients()
    return [
        (0.0, base, 0.0),
        (float(tile), base + active + per_tile, per_token),
        (np.inf, base + active, per_token + per_tile / tile),
    ]


def _lowest(pieces: list[Piece]) -> Floats:
    begin = np.array([0.0] + [end for end, _, _ in pieces[:-1]])
    end = np.array([end for end, _, _ in pieces])
    intercept = np.array([a for _, a, _ in pieces])
    slope = np.array([b for _, _, b in pieces])
    with np.errstate(over="ignore"):  # steep slopes reach infinity, rightly
        rising = intercept + slope * np.minimum(end, 1e300)
    at_end = np.where(slope == 0, intercept, rising)
    least = np.minimum(intercept + slope * begin, at_end)
    return np.minimum.accumulate(least[::-1])[::-1]


def _starts(sizes: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
