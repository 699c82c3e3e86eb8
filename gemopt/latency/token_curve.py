"""Latency as a function of the GPU's total tokens: GEM's own model."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from gemopt.latency.base import CURVE, Floats, LatencyModel, Row

Interpolation = Literal["step", "linear"]
#: Points nearer than this cannot be told apart by shares of tokens.
CLOSEST_TOKENS = 2.0**-20


@dataclass(frozen=True)
class TokenCurve(LatencyModel):
    """Latency read off measured (tokens, microseconds) points.

    ``"step"`` takes the value of the next point up, as tiled kernels behave;
    ``"linear"`` joins the points. Below the first point the first value holds; above
    the last one the line through the last two points goes on (a single point stays
    constant), never falling below zero slope. Points need not rise: measured curves
    dip.

    Parameters
    ----------
    points
        Pairs (tokens, us) with strictly rising tokens.
    interpolation
        ``"step"`` or ``"linear"``.

    Raises
    ------
    ValueError
        No points, unsorted or repeated tokens, NaN or infinite values, a negative
        latency, or zero latency everywhere.

    References
    ----------
    GEM (arXiv 2605.19945): latency against tokens, sampled at tile boundaries.
    """

    points: tuple[tuple[float, float], ...]
    interpolation: Interpolation = "step"

    def __init__(
        self,
        points: Iterable[tuple[float, float]],
        interpolation: Interpolation = "step",
    ) -> None:
        pairs = tuple((float(x), float(y)) for x, y in points)
        object.__setattr__(self, "points", pairs)
        object.__setattr__(self, "interpolation", interpolation)
        self._check()

    def _check(self) -> None:
        if self.interpolation not in get_args(Interpolation):
            known = " or ".join(get_args(Interpolation))
            raise ValueError(f"interpolation = {self.interpolation!r} must be {known}")
        if not self.points:
            raise ValueError("points is empty; give at least one (tokens, us) pair")
        for i, (x, y) in enumerate(self.points):
            if not (np.isfinite(x) and np.isfinite(y)):
                raise ValueError(f"points[{i}] = ({x}, {y}) must be finite")
            if x < 0:
                raise ValueError(f"points[{i}] has tokens = {x} < 0")
            if y < 0:
                raise ValueError(f"points[{i}] has latency = {y} us < 0")
        for i, ((x0, _), (x1, _)) in enumerate(pairwise(self.points)):
            if x1 - x0 < CLOSEST_TOKENS:
                raise ValueError(
                    f"points[{i + 1}] has tokens = {x1} after {x0}; sort, no repeats"
                )
        if all(y == 0 for _, y in self.points):
            raise ValueError("points give zero latency everywhere")

    def rows(self) -> tuple[Row, ...]:
        x = [p[0] for p in self.points]
        y = [p[1] for p in self.points]
        pieces = [(x[0], y[0], 0.0)]
        for i in range(1, len(x)):
            rise = (y[i] - y[i - 1]) / (x[i] - x[i - 1])
            if self.interpolation == "step":
                pieces.append((x[i], y[i], 0.0))
            else:
                pieces.append((x[i], y[i - 1] - rise * x[i - 1], rise))
        pieces.append((np.inf, *self._tail(pieces[-1])))
        upto, intercept, slope = zip(*_merged(pieces), strict=True)
        return (Row(CURVE, upto=upto, intercept=intercept, slope=slope),)

    def _tail(self, last: tuple[float, float, float]) -> tuple[float, float]:
        """Intercept and slope above the last point."""
        if len(self.points) == 1:
            return last[1], 0.0
        if self.interpolation == "linear" and last[2] >= 0:
            return last[1], last[2]
        (x0, y0), (x1, y1) = self.points[-2:]
        slope = max(0.0, (y1 - y0) / (x1 - x0))
        return y1 - slope * x1, slope

    def us(self, shares: ArrayLike, step_tokens: ArrayLike | None = None) -> Floats:
        tokens = np.asarray(shares, dtype=np.float64).sum(axis=-1)
        return self.at(tokens)

    def at(self, tokens: ArrayLike) -> Floats:
        """Latency in us at total `tokens` ``[...]``."""
        (row,) = self.rows()
        total = np.asarray(tokens, dtype=np.float64)
        piece = np.searchsorted(row.upto, total, side="left")
        return np.asarray(
            np.asarray(row.intercept)[piece] + np.asarray(row.slope)[piece] * total
        )


def _merged(
    pieces: list[tuple[float, float, float]],
) -> list[tuple[float, float, float]]:
    """Drop pieces that their successor continues, and one that holds only 0 tokens."""
    kept = [
        piece
        for piece, after in pairwise(pieces)
        if piece[1:] != after[1:] and not (piece[0] == 0 and piece[1] == after[1])
    ]
    return [*kept, pieces[-1]]


def affine(base_us: float, us_per_token: float) -> TokenCurve:
    """Build the line ``base_us + us_per_token * tokens`` as a `TokenCurve`."""
    points = [(0.0, base_us), (1.0, base_us + us_per_token)]
    return TokenCurve(points, interpolation="linear")
