"""Is one profile faster than another, beyond the spread of one GPU itself?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from gemopt_gpu_bench.stats import bootstrap_interval, summary

if TYPE_CHECKING:
    from gemopt.files.profile_file import Profile

#: Ranges of tokens on a GPU, (low, high], that are compared apart: the ratio of two
#: kinds of GPU moves with the load.
RANGES = {"all": (0, inf), "few tokens": (0, 512), "many tokens": (512, inf)}
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


def classify(ratio: float, low: float, high: float, spread: float) -> Comparison:
    """Classify a ratio: its interval against the spread of one GPU.

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
    return classify(b.median / a.median, b.p10 / a.p90, b.p90 / a.p10, spread)


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
        return f"{percent:+.1f} % time against the first: keep both models"


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
    overall = classify(float(np.median(ratios)), low, high, spread)
    return ProfileComparison(overall, points, spread)


def own_spread(profile: "Profile", low: float = 0, high: float = inf) -> float:
    """Spread of one GPU against itself, hot against cold: median, 0.01 = 1 %.

    Loads of `low` < tokens <= `high` count. At least the drift of the anchor.
    """
    drift = float(profile.measurement.get("anchor_drift", 0.0))
    differences = [
        abs(np.median(mark["hot_us"]) / np.median(mark["cold_us"]) - 1.0)
        for mark in profile.measurement.get("fingerprint") or []
        if low < mark["tokens"] <= high
    ]
    return max(drift, float(np.median(differences))) if differences else drift


def samples_by_load(
    profile: "Profile", low: float = 0, high: float = inf
) -> dict[tuple[float, tuple[int, ...]], tuple[float, ...]]:
    """Samples of points of `low` < tokens <= `high`, us, by (mean tokens, counts)."""
    return {
        (float(point.extra["mean_tokens"]), point.counts): point.samples_us
        for point in profile.points
        if low < sum(point.counts) <= high
    }


def compare_ranges(
    first: "Profile", second: "Profile"
) -> dict[str, ProfileComparison | None]:
    """Compare two profiles in each of `RANGES`; None where they share no load.

    Raises
    ------
    ValueError
        They were made for different layers, kernels or modes.
    """
    for record in ("shape", "backend"):
        _require_equal(first, second, record, getattr(first, record))
    _require_equal(first, second, "measurement", ("mode",))
    found: dict[str, ProfileComparison | None] = {}
    for name, ends in RANGES.items():
        a, b = samples_by_load(first, *ends), samples_by_load(second, *ends)
        spread = max(own_spread(first, *ends), own_spread(second, *ends))
        found[name] = compare_profiles(a, b, spread) if a.keys() & b.keys() else None
    return found


def _require_equal(
    first: "Profile", second: "Profile", record: str, names: Iterable[str]
) -> None:
    for name in names:
        one, other = getattr(first, record)[name], getattr(second, record).get(name)
        if one != other and name != "tiles":
            raise ValueError(
                f"{record}.{name} is {one!r} of {first.name} and {other!r} of "
                f"{second.name}; only profiles of the same layer can be compared"
            )
