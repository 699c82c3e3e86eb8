"""Tables and curves against figures worked out by hand."""

import csv
import io
from typing import Any

import numpy as np
import pytest

from gemopt.study import report
from gemopt.study.profiles import performance_profile, time_to_target
from gemopt.study.table import (
    interval,
    paired_test,
    shifted_geometric_mean,
    solver_labels,
    summary,
)


def _run(solver: str, instance: str, cost: float | None, **more: Any) -> dict[str, Any]:
    run = {
        "solver": solver,
        "instance": instance,
        "digest": f"sha256:{instance}",
        "params": {},
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
    _run("good", "b", 300.0, trace=[[0.2, 100.0]]),
    _run("bad", "a", 110.0, trace=[[0.1, 110.0]]),
    _run("bad", "b", None, error="too large"),
]


def test_averages_are_over_what_all_solvers_solved() -> None:
    """`good` is not charged with the instance that `bad` failed on."""
    found = summary(RUNS, {"b": 100.0})
    good, bad = found.lines
    assert (good.solver, good.runs, good.failed) == ("good", 1, 0)
    assert good.to_best == 0 and good.at_best == 1 and good.proven == 1
    assert (bad.runs, bad.failed) == (1, 1)
    assert bad.to_best == bad.worst_to_best == pytest.approx(0.1)
    assert bad.to_bound == pytest.approx(10 / 110)
    assert (found.instances, found.left_out) == (1, 1)
    assert found.failures == {"bad": {"too large": 1}}


def test_seeds_are_averaged_before_instances() -> None:
    """An instance with three seeds weighs as much as one with a single seed."""
    runs = [_run("x", "a", cost, seed=s) for s, cost in enumerate((100, 110, 120))]
    runs.append(_run("x", "b", 100.0))
    (line,) = summary(runs, {"a": 100.0, "b": 100.0}).lines
    assert line.to_best == pytest.approx((0.1 + 0.0) / 2)
    assert line.worst_to_best == pytest.approx(0.2)


def test_a_solver_without_any_placement_spoils_nothing() -> None:
    """It gets a line of its own at the end and does not empty the common runs."""
    found = summary([*RUNS[:2], _run("none", "a", None, error="no")])
    assert [line.solver for line in found.lines] == ["good", "none"]
    assert found.lines[0].runs == 2 and found.lines[1].failed == 1


@pytest.mark.parametrize("recorded", [False, True])
def test_a_best_known_value_counts(recorded: bool) -> None:
    """A better value moves the gap, be it given or recorded with the run."""
    if recorded:
        found = summary([_run("x", "a", 90.0, best_known_us=80.0)])
    else:
        found = summary([_run("x", "a", 90.0)], {"a": 80.0})
    assert found.lines[0].to_best == pytest.approx(0.125)


def test_unseen_gaps_settle_the_order() -> None:
    """Where steps were kept back, the solver that is better on them comes first."""
    runs = [
        _run("fits", "a", 100.0, unseen=0.5, unseen_us=200.0),
        _run("carries", "a", 105.0, unseen=0.5, unseen_us=160.0),
    ]
    first, second = summary(runs).lines
    assert first.solver == "carries" and first.unseen == 0
    assert second.unseen == pytest.approx(0.25)


def test_runs_that_cannot_share_a_table_are_refused() -> None:
    """Other unseen shares, or another instance of the same name, are named."""
    with pytest.raises(ValueError, match=r"0\.5, none"):
        summary([_run("x", "a", 1.0), _run("x", "a", 1.0, unseen=0.5)])
    with pytest.raises(ValueError, match="named 'a'"):
        summary([_run("x", "a", 1.0), _run("y", "a", 1.0, digest="sha256:other")])


def test_options_and_limits_are_part_of_the_label() -> None:
    """Two presets are two lines, and so are two time limits."""
    one = _run("s", "a", 1.0, params={"preset": "fast"})
    two = _run("s", "a", 1.0)
    assert solver_labels([one, two]) == ["s preset=fast", "s"]
    longer = _run("s", "a", 1.0, time_limit=9.0)
    assert solver_labels([two, longer]) == ["s 1s", "s 9s"]


def test_paired_test() -> None:
    """Six equal signs give 2 / 2**6; equal pairs give 1; nothing gives nan."""
    assert paired_test([1, 2, 3, 4, 5, 6], [0] * 6) == pytest.approx(2 / 2**6)
    assert paired_test([0.5, 0.5], [0.5, 0.5]) == 1.0
    assert np.isnan(paired_test([], []))


def test_interval_holds_the_mean_and_repeats() -> None:
    """It lies around the mean, is as wide as the spread says, and has a fixed seed."""
    values = np.random.default_rng(3).normal(5.0, 1.0, 400)
    low, high = interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval(values) == (low, high)
    assert np.isnan(interval([1.0])).all()


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


def test_notes_name_means_and_failures() -> None:
    """The mean of times is stated, and why a run has no placement."""
    text = "\n".join(report.notes(summary(RUNS), best_known=False))
    assert "geometric mean shifted by 10 s, without loading" in text
    assert "bad: 1 run without a placement: too large" in text
    assert "Left out: 1 runs" in text and "best of these runs" in text


def test_markdown_and_header() -> None:
    """Limits stand in the header, a row a solver in the table."""
    assert "time limit 1 s" in report.header(RUNS)
    text = report.markdown(summary(RUNS))
    assert "| good | 1 | 0.00 % |" in text and "| bad | 1 | 10.00 % |" in text


def test_csv_reads_back() -> None:
    """A reader finds every figure under its name; unknown ones are empty."""
    rows = list(csv.DictReader(io.StringIO(report.csv_text(summary(RUNS)))))
    assert [row["solver"] for row in rows] == ["good", "bad"]
    assert float(rows[1]["to_best"]) == pytest.approx(0.1)
    assert rows[0]["p_value"] == rows[0]["unseen"] == ""
    cells = list(
        csv.DictReader(io.StringIO(report.csv_text(summary(RUNS), by_instance=True)))
    )
    assert [(row["instance"], row["solver"]) for row in cells] == [
        ("a", "good"),
        ("a", "bad"),
    ]


def test_latex_escapes_and_has_a_column_a_title() -> None:
    """Every line has as many cells as the tabular; signs of TeX are escaped."""
    runs = [_run("s", "a_1", 100.0, params={"preset": "x_y"})]
    lines = report.latex(summary(runs), by_instance=True).splitlines()
    assert lines[0] == r"\begin{tabular}{llrrrrr}"
    assert lines[-1] == r"\end{tabular}"
    body = [line for line in lines if line.endswith(r"\\")]
    assert len(body) == 2 and all(line.count("&") == 6 for line in body)
    assert r"a\_1 & s preset=x\_y" in body[1] and r"0.00 \%" in body[1]
