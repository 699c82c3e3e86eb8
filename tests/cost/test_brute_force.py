"""Solvers against every placement of tiny instances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.run import registry
from gemopt.run.result import Status
from gemopt.testing import contract_instances
from tests import twins
from tests.brute_force import best_placement, feasible_rows
from tests.strategies import instances

TINY = [i for i in contract_instances() if i.num_gpus * i.num_slots <= 24]
SLOW = 1e-9


def supporting(instance):
    """Names of the solvers that take `instance`."""
    for name in gemopt.solvers():
        entry = registry.entry(name)
        if entry.installed:
            cls = entry.load()
            if cls(cls.Params()).supports(instance) is None:
                yield name, cls


def test_rows_by_hand():
    """Three experts on 2 + 2 slots: 9 pairs of pairs, 3 of which lack an expert."""
    rows = list(feasible_rows(3, np.array([2, 2])))
    assert len(rows) == 6
    assert ((0, 1), (1, 2)) in rows
    assert ((0, 1), (0, 1)) not in rows


def test_known_optimum():
    """Loads 4, 3, 3, 2 on two equal GPUs: 6 and 6."""
    instance = Instance.from_arrays([[[4, 3, 3, 2]]], [affine(0, 1)] * 2)
    placement, cost = best_placement(instance)
    assert cost == 6
    assert sorted(map(sorted, placement.gpu2experts(0))) == [[0, 3], [1, 2]]


@pytest.mark.parametrize("instance", TINY, ids=lambda i: i.name)
def test_no_solver_beats_the_optimum(instance):
    """No solver goes below brute force; those that claim optimality reach it."""
    placement, optimum = best_placement(instance)
    assert gemopt.violations(instance, placement) == []
    assert twins.objective(instance, placement) == pytest.approx(optimum, rel=1e-12)
    best = np.inf
    for name, _ in supporting(instance):
        result = gemopt.solve(instance, name, iterations=30, time_limit=20)
        assert result.objective >= optimum * (1 - SLOW), name
        assert result.lower_bound <= optimum * (1 + SLOW) + SLOW, name
        if result.status == Status.OPTIMAL:
            assert result.objective == pytest.approx(optimum, rel=2e-6), name
        best = min(best, result.objective)
    assert best == pytest.approx(optimum, rel=2e-6), "no solver found the optimum"


@given(instances(max_experts=5, max_gpus=3, max_layers=1, max_extra=2))
def test_optimal_means_optimal(instance):
    """On random instances lpt and gem never beat brute force nor claim falsely."""
    _, optimum = best_placement(instance)
    for name in ("lpt", "gem"):
        result = gemopt.solve(instance, name, iterations=3)
        assert result.objective >= optimum * (1 - SLOW) - SLOW
        assert result.lower_bound <= optimum * (1 + SLOW) + SLOW
        if result.status == Status.OPTIMAL:
            assert result.objective == pytest.approx(optimum, rel=2e-6, abs=1e-6)


@given(st.data())
def test_gem_finds_small_optima(data):
    """Without replicas gem finds the optimum of four experts on two GPUs."""
    instance = data.draw(
        instances(
            ("token_curve",), max_experts=4, max_gpus=2, max_layers=1, max_extra=0
        )
    )
    _, optimum = best_placement(instance)
    result = gemopt.solve(instance, "gem", params={"restarts": 200})
    assert result.objective == pytest.approx(optimum, rel=1e-9, abs=1e-9)
