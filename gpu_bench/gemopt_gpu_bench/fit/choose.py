"""Fit every family, evaluate each on separate points, keep all, choose the best."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from gemopt.latency import LatencyModel, Regimes, families
from gemopt_gpu_bench.backends.tiles import TileTable
from gemopt_gpu_bench.fit.roofline import fit_roofline
from gemopt_gpu_bench.fit.tile_active import fit_tile_active
from gemopt_gpu_bench.stats import Errors, errors

GUESSED_TILES = (32, 64, 128, 256)  # for kernels whose tiles are not known
FEWEST_POINTS = 6  # a range with fewer joins its neighbour

OneRange = Callable[[NDArray[np.int64], NDArray[np.float64], int], LatencyModel]
FAMILIES: dict[str, OneRange] = {
    "tile_active": fit_tile_active,
    "roofline": fit_roofline,
}


@dataclass(frozen=True, eq=False)
class Samples:
    """Measured loads: ``counts [n, experts]``, mean tokens ``[n]``, us ``[n]``."""

    counts: NDArray[np.int64]
    mean_tokens: NDArray[np.float64]
    us: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.us)

    def where(self, mask: NDArray[np.bool_]) -> "Samples":
        """Keep the points of `mask` ``[n]``."""
        return Samples(self.counts[mask], self.mean_tokens[mask], self.us[mask])


@dataclass(frozen=True)
class Fit:
    """One latency model and its errors on points that it has not seen."""

    family: str
    model: LatencyModel
    validation: Errors
    trace: Errors | None  #: on trace-like vectors, where there are any


def predict(model: LatencyModel, at: Samples, total: int) -> NDArray[np.float64]:
    """Predicted us ``[n]`` of a layer with `total` experts."""
    return model.us(at.counts, at.mean_tokens * total)


def fit_all(
    train: Samples,
    validation: Samples,
    trace: Samples,
    *,
    limits: Sequence[float],
    table: TileTable | None,
    total: int,
    curves: dict[str, LatencyModel],
) -> list[Fit]:
    """Fit all families; the best on the validation points comes first.

    Parameters
    ----------
    train, validation, trace
        Points to fit, validation points, and trace-like points (may be empty).
    limits
        Ends of the ranges of mean tokens per expert, the last one infinite.
    table
        Tiles, None when they are not known.
    total
        Experts of the layer on all GPUs: a step has ``mean * total`` tokens.
    curves
        Models that need no fit, by name, to be evaluated beside the others.

    Raises
    ------
    ValueError
        No points to fit or none to validate by.
    """
    if not len(train) or not len(validation):
        raise ValueError(
            f"{len(train)} points to fit and {len(validation)} to validate by; "
            "both are needed"
        )
    models = dict(curves)
    for family, fit_range in {**_third_party(), **FAMILIES}.items():
        models[family] = _regimes(train, limits, table, total, fit_range)
    fits = [
        Fit(
            family,
            model,
            errors(predict(model, validation, total), validation.us),
            errors(predict(model, trace, total), trace.us) if len(trace) else None,
        )
        for family, model in models.items()
    ]
    return sorted(fits, key=lambda fit: fit.validation.mape)


def _third_party() -> dict[str, OneRange]:
    """Fits of the families of other packages that have one."""
    known = families.usable().items()
    found = {kind: getattr(each, "fit", None) for kind, each in known}
    return {kind: fit for kind, fit in found.items() if fit is not None}


def _regimes(
    train: Samples,
    limits: Sequence[float],
    table: TileTable | None,
    total: int,
    fit_range: OneRange,
) -> LatencyModel:
    """One model for each range of the step's tokens."""
    parts: list[tuple[float, LatencyModel]] = []
    for low, high in _filled(train, limits, table):
        inside = train.where((train.mean_tokens > low) & (train.mean_tokens <= high))
        if table is not None:
            config = table.config(high)
            sizes = {config.step_rows, config.block_m}
        else:
            sizes = set(GUESSED_TILES)
        model = _best_tile(inside, fit_range, sizes)
        parts.append((high * total, model))
    return Regimes(parts) if len(parts) > 1 else parts[0][1]


def _filled(
    train: Samples, limits: Sequence[float], table: TileTable | None
) -> list[tuple[float, float]]:
    """Ranges (low, high] that hold enough points, thin ones joined to the next."""
    ranges: list[tuple[float, float]] = []
    low = 0.0
    for high in limits:
        count = int(((train.mean_tokens > low) & (train.mean_tokens <= high)).sum())
        switch = table is not None and table.config(high) != table.config(low + 1e-9)
        if high == inf or count >= FEWEST_POINTS or (switch and count):
            ranges.append((low, high))
            low = high
    thin = int((train.mean_tokens > ranges[-1][0]).sum()) < FEWEST_POINTS
    if thin and len(ranges) > 1:
        before, last = ranges[-2:]
        ranges[-2:] = [(before[0], last[1])]
    return ranges


def _best_tile(
    inside: Samples, fit_range: OneRange, sizes: Iterable[int]
) -> LatencyModel:
    fits = [fit_range(inside.counts, inside.us, tile) for tile in sorted(sizes)]
    return min(fits, key=lambda model: errors(model.us(inside.counts), inside.us).mape)
