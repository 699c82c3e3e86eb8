"""Performance profiles and times to a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Run = Mapping[str, Any]


def performance_profile(runs: Sequence[Run], factors: ArrayLike) -> dict[str, Floats]:
    """Share of (instance, seed) pairs within each factor of the best solver's cost.

    References
    ----------
    Dolan and More, Benchmarking optimization software with performance profiles, 2002.

    Returns
    -------
    dict
        By solver, shares of the same shape as `factors`. A run without a placement is
        never within any factor.
    """
    factor = np.asarray(factors, dtype=np.float64)
    best: dict[tuple[str, int], float] = {}
    pairs = sorted({(run["instance"], run["seed"]) for run in runs})
    for run in runs:
        if run.get("objective_us") is not None:
            pair = (run["instance"], run["seed"])
            best[pair] = min(best.get(pair, np.inf), run["objective_us"])
    profile = {}
    for solver in sorted({run["solver"] for run in runs}):
        ratio = dict.fromkeys(pairs, np.inf)
        for run in runs:
            if run["solver"] == solver and run.get("objective_us") is not None:
                pair = (run["instance"], run["seed"])
                ratio[pair] = run["objective_us"] / best[pair] if best[pair] else 1.0
        values = np.array(list(ratio.values()))
        within = values[None, :] <= factor.reshape(-1, 1) * (1 + 1e-12)
        profile[solver] = within.mean(axis=1).reshape(factor.shape)
    return profile


def time_to_target(
    runs: Sequence[Run], targets: Mapping[str, float]
) -> dict[str, Floats]:
    """Seconds until each run first had an objective at or below its target.

    Parameters
    ----------
    runs
        Records of `gemopt.study.bench`, with their traces.
    targets
        Objective by instance, us; runs of other instances are left out.

    Returns
    -------
    dict
        By solver, sorted seconds, inf for runs that never got there: entry i of n is
        the time by which a share (i + 1) / n of the runs had arrived.
    """
    times: dict[str, list[float]] = {}
    for run in runs:
        target = targets.get(run["instance"])
        if target is None:
            continue
        reached = [
            seconds
            for seconds, best in run.get("trace", ())
            if best is not None and best <= target * (1 + 1e-12)
        ]
        times.setdefault(run["solver"], []).append(min(reached, default=np.inf))
    return {solver: np.sort(values) for solver, values in sorted(times.items())}
