"""Tables and curves against figures worked out by hand."""

from typing import Any

import numpy as np
import pytest

from gemopt.study.profiles import performance_profile, time_to_target
from gemopt.study.table import render, shifted_geometric_mean, summary


def _run(solver: str, instance: str, cost: float | None, **more: Any) -> dict[str, Any]:
    run = {
        "solver": solver,
        "instance": instance,
        "seed": 0,
        "time_limit": 1.0,
        "iterations": None,
        "unseen": None,
        "bound_effort": "quick",
        "objective_us": cost,
        "bound_us": 90.0,
        "unseen_us": None,
        "seconds": 1.0,
    }
    return {**run, **more}


RUNS = [
    _run("good", "a", 100.0, bound_us=100.0, trace=[[0.1, 120.0], [0.4, 100.0]]),
    _run("good", "b", 100.0, trace=[[0.2, 100.0]]),
    _run("bad", "a", 110.0, trace=[[0.1, 110.0]]),
    _run("bad", "b", None, error="no"),
]


def test_gaps_and_shares() -> None:
    """Gaps are to the best of all runs and to the largest bound of all runs."""
    good, bad = summary(RUNS)
    assert (good.solver, good.runs, good.failed) == ("good", 2, 0)
    assert good.to_best == 0 and good.at_best == 1
    assert good.to_bound == pytest.approx(0.05)
    assert good.proven == 0.5
    assert (bad.runs, bad.failed) == (1, 1)
    assert bad.to_best == bad.worst_to_best == pytest.approx(0.1)
    assert bad.to_bound == pytest.approx(10 / 110)


def test_a_best_known_value_counts() -> None:
    """A better value from elsewhere moves the gap."""
    good = next(x for x in summary(RUNS, {"b": 80.0}) if x.solver == "good")
    assert good.to_best == pytest.approx(0.125)


def test_shifted_geometric_mean() -> None:
    """The mean of 0 and 30 with a shift of 10 is sqrt(10 * 40) - 10."""
    assert shifted_geometric_mean([0.0, 30.0]) == pytest.approx(10.0)
    assert np.isnan(shifted_geometric_mean([]))


def test_profile_counts_failures_as_never() -> None:
    """`bad` is within 1.1 on one instance of two, whatever the factor."""
    profile = performance_profile(RUNS, [1.0, 1.1, 9.0])
    assert profile["good"].tolist() == [1.0, 1.0, 1.0]
    assert profile["bad"].tolist() == [0.0, 0.5, 0.5]


def test_time_to_target() -> None:
    """The first improvement at the target counts; never is inf."""
    times = time_to_target(RUNS, {"a": 100.0})
    assert times["good"].tolist() == [0.4]
    assert times["bad"].tolist() == [np.inf]


def test_the_table_carries_its_header() -> None:
    """Limits come first, then one row a solver."""
    text = render(RUNS)
    assert "time limit 1 s" in text
    assert "| good | 2 | 0.00 % |" in text
    assert "| bad | 1 (+1 failed) | 10.00 % |" in text
