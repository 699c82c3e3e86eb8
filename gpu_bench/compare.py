"""Is one profile faster than another, beyond what a card differs from itself?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from gpu_bench.stats import bootstrap_interval, summary

LEAST_SPREAD = 0.005  # below the noise within one call nothing can be told


class Verdict(Enum):
    """What a ratio second / first says, given the noise."""

    FASTER = "faster"  #: the second takes less time, beyond what a card differs itself
    SLOWER = "slower"  #: it takes more time, beyond that
    SAME = "same"  #: the whole interval lies within what a card differs from itself
    AMBIGUOUS = "ambiguous"  #: the interval straddles that limit: measure more


@dataclass(frozen=True)
class Comparison:
    """Ratio of times second / first, its interval, and the verdict."""

    ratio: float
    low: float
    high: float
    verdict: Verdict


def judge(ratio: float, low: float, high: float, spread: float) -> Comparison:
    """Judge a ratio by its interval against a card's own spread.

    Parameters
    ----------
    ratio, low, high
        Time of the second over the first, and its interval.
    spread
        Relative difference of a card from itself, hot against cold; 0.01 = 1 %.
    """
    limit = max(spread, LEAST_SPREAD)
    if low > 1.0 + limit:
        verdict = Verdict.SLOWER
    elif high < 1.0 - limit:
        verdict = Verdict.FASTER
    elif low >= 1.0 - limit and high <= 1.0 + limit:
        verdict = Verdict.SAME
    else:
        verdict = Verdict.AMBIGUOUS
    return Comparison(ratio, low, high, verdict)


def compare_samples(
    first: Sequence[float], second: Sequence[float], spread: float
) -> Comparison:
    """Compare the samples of one load; the interval is p10/p90 against p90/p10."""
    a, b = summary(first), summary(second)
    return judge(b.median / a.median, b.p10 / a.p90, b.p90 / a.p10, spread)


@dataclass(frozen=True)
class ProfileComparison:
    """Two profiles at their common loads.

    Attributes
    ----------
    overall
        Median ratio over the loads, with its bootstrap interval.
    points
        Comparison at each load, keyed by (mean tokens, counts).
    spread
        The cards' own spread that was allowed for.
    """

    overall: Comparison
    points: Mapping[tuple[float, tuple[int, ...]], Comparison]
    spread: float

    def advice(self) -> str:
        """Say in one sentence what follows for placement."""
        verdict = self.overall.verdict
        if verdict is Verdict.SAME:
            return (
                "the two differ no more than one card from itself: treat them as equal"
            )
        if verdict is Verdict.AMBIGUOUS:
            return (
                "no telling at this noise: measure more points or repeat the profiles"
            )
        percent = 100 * (self.overall.ratio - 1)
        return (
            f"the second takes {percent:+.1f} % of the first's time: keep both models"
        )


def compare_profiles(
    first: Mapping[tuple[float, tuple[int, ...]], Sequence[float]],
    second: Mapping[tuple[float, tuple[int, ...]], Sequence[float]],
    spread: float,
) -> ProfileComparison:
    """Compare two sets of samples by load.

    Raises
    ------
    ValueError
        The profiles share no load.
    """
    common = [load for load in first if load in second]
    if not common:
        raise ValueError("the profiles share no load; profile both with the same plan")
    points = {
        load: compare_samples(first[load], second[load], spread) for load in common
    }
    ratios = np.array([point.ratio for point in points.values()])
    low, high = bootstrap_interval([ratios], lambda r: float(np.median(r)))
    overall = judge(float(np.median(ratios)), low, high, spread)
    return ProfileComparison(overall, points, spread)
