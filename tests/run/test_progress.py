"""Traces, the monitor and observers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.model.placement import Placement
from gemopt.run.improvements import Trace, TracePoint
from gemopt.run.observer import Observer
from gemopt.run.progress import Monitor
from gemopt.run.stop import MaxIterations, StopReason
from gemopt.testing import contract_instances

FLOATS = st.floats(allow_nan=False)
POINTS = st.builds(TracePoint, st.floats(0, 1e6), st.integers(0, 10**9), FLOATS, FLOATS)
TRACES = st.lists(POINTS, max_size=5).map(lambda points: Trace(tuple(points)))


@given(TRACES)
def test_csv_round_trip(tmp_path_factory, trace):
    """CSV gives back every bit, infinities included."""
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    trace.to_csv(path)
    assert Trace.from_csv(path) == trace


@given(TRACES)
def test_jsonl_round_trip(tmp_path_factory, trace):
    """JSON lines give back every bit; "not known" reads as the right infinity."""
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    trace.to_jsonl(path)
    known = [
        p._replace(
            best=p.best if math.isfinite(p.best) else math.inf,
            bound=p.bound if math.isfinite(p.bound) else -math.inf,
        )
        for p in trace.points
    ]
    assert Trace.from_jsonl(path) == Trace(tuple(known))
    assert "Infinity" not in path.read_text()


def monitor(**options):
    """A monitor that stops after three iterations."""
    return Monitor(MaxIterations(3), **options)


def placement(value):
    """A placement that can be told from others."""
    return Placement(np.array([[value]]), np.array([1]))


def test_monitor_keeps_the_best():
    """Only better placements count, and only they enter the trace."""
    watch = monitor()
    for iteration, cost in enumerate([5.0, 7.0, 5.0, 2.0]):
        watch.iteration = iteration
        watch.improved(cost, placement(iteration))
    assert (watch.best, watch.best_iteration) == (2.0, 3)
    assert watch.placement == placement(3)
    assert [p.best for p in watch.points] == [5.0, 2.0]


def test_monitor_keeps_the_best_bound():
    """Bounds only rise."""
    watch = monitor()
    for bound in (1.0, 0.5, 3.0):
        watch.bounded(bound)
    assert watch.bound == 3.0
    assert [p.bound for p in watch.points] == [1.0, 3.0]


def test_monitor_without_trace():
    """The trace can be switched off; the best is still kept."""
    watch = monitor(keep_trace=False)
    watch.improved(1.0, placement(0))
    assert (watch.points, watch.best) == ([], 1.0)


def test_monitor_stops():
    """The criterion stops the run; so does an observer, first."""
    assert monitor().stop_reason(2) is None
    assert monitor().stop_reason(3) == StopReason.ITERATIONS

    class Impatient(Observer):
        def on_progress(self, progress):
            return progress.iteration >= 1

    watch = monitor(observer=Impatient())
    assert watch.stop_reason(0) is None
    assert watch.stop_reason(1) == StopReason.INTERRUPTED


def test_run_trace_falls_and_reports_in_order():
    """The trace of a run falls strictly, over rising time and iterations."""
    result = gemopt.solve(contract_instances()[0], "random", iterations=40)
    points = result.trace.points
    assert len(points) > 1
    assert all(a.best > b.best for a, b in itertools.pairwise(points))
    assert [p.iteration for p in points] == sorted(p.iteration for p in points)
    assert [p.elapsed for p in points] == sorted(p.elapsed for p in points)
    assert points[-1].best == pytest.approx(result.objective)
    silent = gemopt.solve(contract_instances()[0], "random", iterations=2, trace=False)
    assert silent.trace == Trace()
