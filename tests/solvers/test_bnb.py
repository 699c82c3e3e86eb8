"""The exact solver bnb against brute force and cpsat, its tables, and its limits."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemopt
from gemopt import Instance, Status, StopReason
from gemopt.latency import TokenCurve, affine
from gemopt_solvers.exact.sets.branching import Branching
from tests.brute_force import best_placement
from tests.strategies import instances, random_placement

NAME = "bnb"


def stairs(experts: int, gpus: int, spare: int, seed: int = 0) -> Instance:
    """Unequal staircases on Poisson loads."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(1.0, 20.0, experts), (12, 1, experts))
    curves = [
        TokenCurve([(16 * i, s * (20 + 9.0 * i)) for i in range(1, 60)])
        for s in rng.normal(1, 0.1, gpus)
    ]
    slots = np.full(gpus, (experts + spare) // gpus)
    return Instance.from_arrays(counts, curves, slots=slots)


@settings(max_examples=50)
@given(instances(max_experts=5, max_gpus=3, max_layers=1), st.integers(0, 99))
def test_a_halted_search_has_a_valid_bound(instance: Instance, seed: int) -> None:
    """Whatever is left open, the bound is below the optimum."""
    _, optimum = best_placement(instance)
    start = random_placement(np.random.default_rng(seed), instance)
    search = Branching(instance, 0, start.phy2log[0])
    halter = threading.Timer(0.0002 * (seed % 10), search.halt.fill, [1])
    halter.start()
    search.run(1)
    halter.join()
    assert search.bound <= optimum * (1 + 1e-9)
    search = Branching(instance, 0, start.phy2log[0])
    search.run(1)
    assert search.bound == pytest.approx(optimum, rel=1e-8)
    assert search.cost == pytest.approx(optimum, rel=1e-8)


@pytest.mark.parametrize(("experts", "gpus", "spare"), [(8, 4, 0), (6, 3, 3)])
def test_agrees_with_cpsat_on_staircases(experts: int, gpus: int, spare: int) -> None:
    """Two methods that share nothing but the instance find the same optimum."""
    instance = stairs(experts, gpus, spare)
    ours = gemopt.solve(instance, NAME)
    theirs = gemopt.solve(instance, "cpsat", start=ours.placement, time_limit=60)
    assert ours.status == Status.OPTIMAL
    assert theirs.objective == pytest.approx(ours.objective, rel=1e-9)
    assert theirs.lower_bound <= ours.objective * (1 + 1e-9)


@pytest.mark.parametrize("spare", [0, 4])
def test_threads_do_not_change_the_optimum(spare: int) -> None:
    """Two threads prove what one proves."""
    instance = stairs(12 if spare == 0 else 8, 4, spare, seed=1)
    one, two = (gemopt.solve(instance, NAME, jobs=jobs) for jobs in (1, 2))
    assert one.status == two.status == Status.OPTIMAL
    assert one.objective == pytest.approx(two.objective, rel=1e-12)


def test_proves_sixteen_experts_on_eight_unequal_staircases() -> None:
    """What leaves CP-SAT a gap of several per cent is proven."""
    result = gemopt.solve(stairs(16, 8, 0), NAME, time_limit=60)
    assert result.status == Status.OPTIMAL
    assert result.stop_reason == StopReason.PROVEN


def test_keeps_bound_and_placement_at_a_time_limit() -> None:
    """Time that is over before the tables are full leaves a feasible answer."""
    gemopt.solve(stairs(8, 4, 0), NAME)  # compile before the clock runs
    result = gemopt.solve(stairs(20, 5, 0), NAME, time_limit=0.5)
    assert result.stop_reason == StopReason.TIME
    assert result.status == Status.FEASIBLE
    assert 0 < result.lower_bound < result.objective
    assert result.seconds < 8


def test_refuses_what_does_not_fit() -> None:
    """A layer too large is refused with the size of its tables."""
    counts = np.ones((4, 1, 32), dtype=np.int64)
    instance = Instance.from_arrays(counts, [affine(1, 1)] * 4)
    with pytest.raises(ValueError, match="comparisons"):
        gemopt.solve(instance, NAME)
