"""Stop criteria: frozen values that can be joined and used again."""

import dataclasses
import math

import pytest

import gemopt
from gemopt.run.stop import AnyOf, Progress, StopCriterion, StopReason, joined
from gemopt.testing import contract_instances

FRESH = Progress(0, 0.0, math.inf, -math.inf, 0)


def at(**changes):
    """Progress with something changed."""
    return FRESH._replace(**changes)


@pytest.mark.parametrize(
    ("criterion", "before", "after", "reason"),
    [
        (gemopt.MaxRuntime(2), at(elapsed=1.9), at(elapsed=2.0), "time"),
        (gemopt.MaxIterations(3), at(iteration=2), at(iteration=3), "iterations"),
        (gemopt.Target(10.0), at(best=10.1), at(best=10.0), "target"),
        (
            gemopt.NoImprovement(5),
            at(iteration=8, best_iteration=4),
            at(iteration=9, best_iteration=4),
            "stalled",
        ),
    ],
)
def test_each_criterion(criterion, before, after, reason):
    """Each criterion says go on just before its limit and stop at it."""
    assert criterion(before) is None
    assert criterion(after) == StopReason(reason)
    assert criterion(before) is None  # it remembers nothing


def test_joined_with_or():
    """The first of the joined criteria that is met names the reason."""
    both = gemopt.MaxRuntime(1) | gemopt.MaxIterations(5)
    assert both(at(iteration=4)) is None
    assert both(at(iteration=5)) == StopReason.ITERATIONS
    assert both(at(iteration=5, elapsed=1)) == StopReason.TIME
    three = both | gemopt.Target(1)
    assert three(at(best=0.5)) == StopReason.TARGET


def test_joined_limits():
    """The two common limits join the given criterion; nothing never stops."""
    assert joined(None)(at(iteration=10**9, elapsed=1e9)) is None
    all_three = joined(gemopt.Target(1), 2.0, 3)
    assert all_three == AnyOf(
        (gemopt.Target(1), gemopt.MaxRuntime(2.0), gemopt.MaxIterations(3))
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: gemopt.MaxRuntime(-1),
        lambda: gemopt.MaxRuntime(math.nan),
        lambda: gemopt.MaxIterations(-1),
        lambda: gemopt.NoImprovement(0),
    ],
)
def test_refusals(make):
    """Limits below their least value are refused."""
    with pytest.raises(ValueError, match="must be >="):
        make()


def test_frozen():
    """A criterion cannot change."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        gemopt.MaxIterations(3).count = 4


def test_the_base_class_is_abstract():
    """A criterion without a rule says so."""
    with pytest.raises(NotImplementedError, match="StopCriterion"):
        StopCriterion()(FRESH)


def test_reuse():
    """The same criterion in two runs gives the same result twice."""
    stop = gemopt.NoImprovement(2) | gemopt.MaxIterations(6)
    instance = contract_instances()[0]
    runs = [gemopt.solve(instance, "random", stop=stop, seed=3) for _ in range(2)]
    assert runs[0].placement == runs[1].placement
    assert runs[0].iterations == runs[1].iterations
    assert runs[0].stop_reason == runs[1].stop_reason
    assert runs[0].stop_reason in (StopReason.STALLED, StopReason.ITERATIONS)


def test_target_ends_a_run():
    """A target that the first placement meets ends the run at once."""
    instance = contract_instances()[0]
    run = gemopt.solve(instance, "random", stop=gemopt.Target(1e9))
    assert (run.stop_reason, run.iterations) == (StopReason.TARGET, 0)
