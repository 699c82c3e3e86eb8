"""The clustering-based placer."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import gemopt
from gemopt.latency import affine
from gemopt.model.check import violations
from gemopt.model.instance import Instance
from gemopt.parts.capacitated import balanced, capacitated
from gemopt_solvers.cluster.methods import METHODS
from tests.communication.cases import routed


@pytest.mark.parametrize("method", METHODS)
def test_planted_clusters_are_found(method: str) -> None:
    """Each method recovers four blocks of strong affinity."""
    truth = np.repeat(np.arange(4), 4)
    order = np.random.default_rng(0).permutation(16)
    affinity = np.where(truth[:, None] == truth[None, :], 1.0, 0.05)[
        np.ix_(order, order)
    ]
    np.fill_diagonal(affinity, 0.0)
    labels = METHODS[method](affinity, 4, 0)
    for block in range(4):
        assert len(set(labels[truth[order] == block])) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["spread", "together", "both"])
@pytest.mark.parametrize("node", [None, [0, 0, 1, 1]])
@pytest.mark.parametrize("slots", [8, 12])
def test_every_mode_is_feasible_and_repeatable(
    method: str, mode: str, node: list[int] | None, slots: int
) -> None:
    """All modes and methods respect slots and replicas, and repeat themselves."""
    instance = routed(1, node=node, slots=slots)
    params = {"mode": mode, "method": method}
    first = gemopt.solve(instance, "cluster", params=params)
    assert first.placement is not None
    assert not violations(instance, first.placement)
    assert first.placement == gemopt.solve(instance, "cluster", params=params).placement


def test_spread_separates_experts_that_burst_together() -> None:
    """Pairs that burst together sit on different GPUs."""
    rng = np.random.default_rng(3)
    burst = rng.random((400, 4)) < 0.3
    counts = np.repeat(np.where(burst, 60, 5), 2, axis=1) + rng.poisson(3, (400, 8))
    instance = Instance.from_arrays(counts[:, None, :], [affine(10, 1)] * 2)
    result = gemopt.solve(instance, "cluster", params={"mode": "spread"})
    assert result.placement is not None
    for held in result.placement.gpu2experts(0):
        assert len({expert // 2 for expert in held}) == 4


def test_together_joins_experts_of_the_same_tokens() -> None:
    """Pairs that tokens choose together share a GPU, and traffic falls."""
    rng = np.random.default_rng(4)
    pair = rng.integers(4, size=2000)
    noise = rng.random((2000, 8)).argsort(axis=1)[:, :2]
    ids = np.where(
        rng.random(2000)[:, None] < 0.8, np.stack([pair, pair + 4], 1), noise
    )
    routing = gemopt.TokenRouting.from_arrays(ids[:, None, :], np.arange(0, 2001, 100))
    comm = gemopt.Communication.from_routing(
        routing, gemopt.topology("nvlink-host"), num_experts=8, hidden=4096
    )
    instance = Instance.from_arrays(routing.counts(8), [affine(10, 0.1)] * 4, comm=comm)
    result = gemopt.solve(instance, "cluster", params={"mode": "together"})
    assert result.placement is not None
    for held in result.placement.gpu2experts(0):
        assert len({expert % 4 for expert in held}) == 1
    linear = gemopt.solve(instance, "linear").placement
    assert linear is not None
    sent = [
        gemopt.evaluate(instance, p).communication.intra_tokens.sum()  # type: ignore[union-attr]
        for p in (result.placement, linear)
    ]
    assert sent[0] < 0.8 * sent[1]


def test_assignment_fills_capacities_at_least_cost() -> None:
    """The assignment equals the best of all, and prices balance the load."""
    rng = np.random.default_rng(5)
    cost = rng.random((6, 2))
    copies, capacity = np.ones(6, np.int64), np.array([4, 2])
    groups = capacitated(cost, copies, capacity)
    assert np.bincount(groups).tolist() == [4, 2]
    best = min(
        sum(cost[e, int(e in pair)] for e in range(6))
        for pair in itertools.combinations(range(6), 2)
    )
    assert cost[np.arange(6), groups].sum() == pytest.approx(best)
    load = np.array([9.0, 1.0, 1.0, 1.0, 9.0, 1.0])
    even = balanced(
        np.zeros((6, 2)), copies, np.array([3, 3]), load, np.array([0.5, 0.5])
    )
    assert np.bincount(even, weights=load).tolist() == [11.0, 11.0]


def test_unknown_options_are_named() -> None:
    """Modes, methods, and modes without communication are refused with a reason."""
    instance = Instance.from_arrays([[[1, 2]]], [affine(1, 1)] * 2)
    with pytest.raises(ValueError, match="mode = 'apart'"):
        gemopt.solve(instance, "cluster", params={"mode": "apart"})
    with pytest.raises(ValueError, match="method = 'magic'"):
        gemopt.solve(instance, "cluster", params={"method": "magic"})
    with pytest.raises(ValueError, match="needs the instance's communication"):
        gemopt.solve(instance, "cluster", params={"mode": "together"})


@pytest.mark.parametrize("node", [[0, 0, 0], [0, 1, 1]])
@pytest.mark.parametrize("solver", ["cluster", "grace", "search"])
def test_a_gpu_without_slots_stays_empty(solver: str, node: list[int]) -> None:
    """Under communication too, with a host to itself or not."""
    instance = replace(
        routed(0, layers=1, gpus=3, experts=6, slots=6, steps=4),
        slots=np.array([0, 3, 3]),
        node=np.array(node),
    )
    placement = gemopt.solve(instance, solver, iterations=1).placement
    assert placement is not None
    assert len(placement.gpu2experts(0)[0]) == 0
