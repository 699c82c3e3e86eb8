"""Results: gap, status and the one-line summary."""

import dataclasses
import math

import pytest

from gemopt.run.result import Result, Status
from gemopt.run.stop import StopReason


def result(objective=10.0, lower_bound=8.0, **changes):
    """A result with something changed."""
    base = Result(
        placement=None,
        objective=objective,
        lower_bound=lower_bound,
        status=Status.FEASIBLE,
        stop_reason=StopReason.FINISHED,
        seconds=0.5,
        iterations=3,
        solver="lpt",
        seed=0,
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("objective", "bound", "gap"),
    [
        (10.0, 8.0, 0.2),
        (10.0, 10.0, 0.0),
        (10.0, -math.inf, math.inf),
        (math.inf, 8.0, math.inf),
        (0.0, 0.0, 0.0),
    ],
)
def test_gap(objective, bound, gap):
    """The gap is relative to the objective, and inf when a side is unknown."""
    assert result(objective, bound).gap == pytest.approx(gap)


def test_summary():
    """The summary names solver, status, objective, gap, work and reason."""
    assert result().summary() == (
        "lpt: feasible 10 us, gap 20.00 %, 3 iterations in 0.500 s (finished)"
    )
    assert "gap unknown" in result(lower_bound=-math.inf).summary()


def test_frozen():
    """A result cannot change."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        result().objective = 1.0
