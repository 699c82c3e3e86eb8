"""Summaries of samples and errors of predictions. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Summary:
    """Median and 10th and 90th percentile of samples, in their unit."""

    median: float
    p10: float
    p90: float

    @property
    def spread(self) -> float:
        """(p90 - p10) / median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0


def summary(samples: ArrayLike) -> Summary:
    """Summarise samples ``[n]``.

    Raises
    ------
    ValueError
        No samples.
    """
    array = np.asarray(samples, dtype=np.float64)
    if not array.size:
        raise ValueError("samples is empty; nothing to summarise")
    p10, median, p90 = np.percentile(array, [10, 50, 90])
    return Summary(float(median), float(p10), float(p90))


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions: mean, 95th percentile, largest; 0.01 = 1 %."""

    mape: float
    p95: float
    worst: float
    count: int


def errors(predicted: ArrayLike, measured: ArrayLike) -> Errors:
    """Compare predictions with measurements, both ``[n]``.

    Raises
    ------
    ValueError
        Nothing measured, or a measurement that is not positive.
    """
    truth = np.asarray(measured, dtype=np.float64)
    if not truth.size:
        raise ValueError("measured is empty; nothing to compare")
    if truth.min() <= 0:
        raise ValueError(f"measured has {truth.min()}, needs positive latencies")
    relative = np.abs(np.asarray(predicted, dtype=np.float64) / truth - 1.0)
    return Errors(
        float(relative.mean()),
        float(np.percentile(relative, 95)),
        float(relative.max()),
        truth.size,
    )


def bootstrap_interval(
    groups: Sequence[NDArray[np.float64]],
    statistic: Callable[..., float],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of a statistic of paired arrays.

    Parameters
    ----------
    groups
        Arrays with a common first axis, which is resampled jointly.
    statistic
        Function of the resampled arrays.
    level
        Coverage.
    draws, seed
        Resamples and their seed.

    Returns
    -------
    tuple of float
        Lower and upper end.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    rng = np.random.default_rng(seed)
    size = len(groups[0])
    values = np.empty(draws)
    for i in range(draws):
        rows = rng.integers(size, size=size)
        values[i] = statistic(*(group[rows] for group in groups))
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
