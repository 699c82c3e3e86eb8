"""CP-SAT on compute and communication together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemopt
from gemopt.cost.evaluate import evaluate
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.bounds.test_communication import placements, tiny
from tests.communication.cases import routed


@settings(max_examples=25)
@given(instance=tiny(extra=False), solver=st.sampled_from(["cpsat", "exact"]))
def test_equals_brute_force(instance: Instance, solver: str) -> None:
    """The optimum over all placements is found and proven, on every topology."""
    costs = [evaluate(instance, p).objective for p in placements(instance)]
    worst = placements(instance)[int(np.argmax(costs))]
    result = gemopt.solve(instance, solver, start=worst)
    assert result.objective == pytest.approx(min(costs), rel=1e-6)
    assert result.lower_bound == pytest.approx(min(costs), rel=2e-6)
    assert result.lower_bound <= min(costs) * (1 + 1e-9)
    assert result.status == gemopt.Status.OPTIMAL


def test_communication_changes_the_optimum() -> None:
    """Slow links are worth a less even load."""
    instance = routed(3, layers=1, gpus=2, experts=6, slots=6, steps=2)
    slow = replace(
        instance,
        comm=replace(
            instance.comm,  # type: ignore[type-var]
            topology=gemopt.Topology(gemopt.Link(1, 1), gemopt.Link(1, 1)),
        ),
    )
    plain = gemopt.solve(replace(instance, comm=None), "cpsat").placement
    joint = gemopt.solve(slow, "cpsat")
    assert plain is not None
    assert joint.status == gemopt.Status.OPTIMAL
    assert joint.objective < evaluate(slow, plain).objective


def test_what_cannot_be_exact_is_refused() -> None:
    """Replicas, estimates and giants are refused, with the size; so is HiGHS."""
    with pytest.raises(ValueError, match="12 slots for 8 experts"):
        gemopt.solve(routed(0, slots=12), "cpsat")
    instance = routed(0)
    assert instance.comm is not None
    estimated = replace(instance, comm=replace(instance.comm, routing=None))
    with pytest.raises(ValueError, match="without per-token ids"):
        gemopt.solve(estimated, "cpsat")
    with pytest.raises(ValueError, match="use cpsat"):
        gemopt.solve(instance, "milp")
    giant = routed(0, experts=64, slots=64, gpus=64, tokens=1000, steps=30, layers=1)
    with pytest.raises(ValueError, match="coefficients"):
        gemopt.solve(giant, "cpsat")


def test_layers_and_moves_work_as_without_communication() -> None:
    """Every layer is proven, and a limit on moves holds."""
    instance = routed(7, layers=2, tokens=6, node=[0, 0, 1, 1], hierarchical=True)
    start = Placement(np.tile(np.arange(8), (2, 1)), instance.slots)
    free = gemopt.solve(instance, "cpsat", start=start)
    assert free.stats["layers_proven"] == 2
    near = gemopt.solve(instance, "cpsat", start=start, params={"max_moves": 2})
    assert near.placement is not None
    moved = [
        len(set(a) - set(b))
        for layer in range(2)
        for a, b in zip(
            near.placement.gpu2experts(layer), start.gpu2experts(layer), strict=True
        )
    ]
    assert max(sum(moved[:4]), sum(moved[4:])) <= 2
    assert free.objective <= near.objective <= evaluate(instance, start).objective


def test_search_is_near_the_optimum() -> None:
    """On small instances search ends within two per cent of the proven optimum."""
    for seed in range(3):
        instance = routed(seed, layers=1, tokens=30, node=[0, 0, 1, 1])
        exact = gemopt.solve(instance, "cpsat")
        assert exact.status == gemopt.Status.OPTIMAL
        found = gemopt.solve(instance, "search", iterations=5)
        assert found.objective <= 1.02 * exact.objective


def test_one_gpu_and_silence() -> None:
    """One GPU sends nothing; GPUs without tokens pay only the start of a phase."""
    instance = routed(0, gpus=1)
    result = gemopt.solve(instance, "cpsat")
    assert result.status == gemopt.Status.OPTIMAL
    routing = gemopt.TokenRouting.from_arrays(np.zeros((0, 1, 2)), [0, 0])
    comm = gemopt.Communication.from_routing(
        routing, gemopt.topology("nvlink-host"), num_experts=4, hidden=8
    )
    silent = Instance.from_arrays(
        np.zeros((1, 1, 4), int), [affine(5, 1)] * 2, comm=comm
    )
    assert gemopt.solve(silent, "cpsat").objective == pytest.approx(5 + 12)
