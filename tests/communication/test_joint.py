"""Descent on compute and communication: moves are judged as evaluation does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.cost.evaluate import combined, evaluate
from gemopt.cost.incremental import LayerState
from gemopt.cost.traffic import traffic
from gemopt.model.check import violations
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt_solvers.joint.descent import joint_descent, layer_traffic
from gemopt_solvers.joint.hierarchical import hierarchical_row
from gemopt_solvers.joint.kernels import fill_traffic, total_after
from tests.communication.cases import random_placement, routed

HOSTS = [None, [0, 0, 1, 1], [0, 1, 2, 3]]


def _estimated_objective(instance: Instance, row: np.ndarray, layer: int) -> float:
    one = instance.layer(layer)
    placement = Placement(row[None], instance.slots)
    compute = evaluate(one, placement).per_step
    assert one.comm is not None
    comm = traffic(one, placement, exact=False).per_step
    return float(
        (combined(compute, comm, one.comm.overlap) * one.weights[:, None]).sum()
    )


@given(
    seed=st.integers(0, 10**6),
    node=st.sampled_from(HOSTS),
    hierarchical=st.booleans(),
    slots=st.sampled_from([8, 12]),
    overlap=st.sampled_from([0.0, 0.5]),
)
def test_a_swap_costs_what_evaluation_says(
    seed: int, node: list[int] | None, hierarchical: bool, slots: int, overlap: float
) -> None:
    """The incremental total equals the full estimate, before and after a swap."""
    instance = routed(
        seed, node=node, hierarchical=hierarchical, slots=slots, overlap=overlap
    )
    assert instance.comm is not None
    row = random_placement(instance, seed).phy2log[1]
    state = LayerState(instance, 1, row)
    comm = layer_traffic(instance, instance.comm, 1)
    fill_traffic(comm, state.state)
    now = total_after(state.tables, state.state, comm, 0, 0)
    assert now == pytest.approx(_estimated_objective(instance, row, 1))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        a, b = rng.choice(slots, 2, replace=False)
        swapped = row.copy()
        swapped[[a, b]] = swapped[[b, a]]
        if violations(instance.layer(1), Placement(swapped[None], instance.slots)):
            continue
        after = total_after(state.tables, state.state, comm, a, b)
        assert after == pytest.approx(_estimated_objective(instance, swapped, 1))


@given(seed=st.integers(0, 10**6), node=st.sampled_from(HOSTS))
def test_descent_never_rises_and_stays_feasible(
    seed: int, node: list[int] | None
) -> None:
    """Every step of the descent is feasible and no worse than the one before."""
    instance = routed(seed, node=node, slots=12)
    row = random_placement(instance, seed).phy2log[0]
    values = []
    for phy2log, value in joint_descent(instance, 0, row):
        values.append(value)
        placement = Placement(phy2log[None], instance.slots)
        assert not violations(instance.layer(0), placement)
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(_estimated_objective(instance, phy2log, 0))


@given(
    seed=st.integers(0, 10**6),
    node=st.sampled_from([[0, 0, 1, 1], [0, 1, 2, 3], [0, 0, 0, 1]]),
    slots=st.sampled_from([8, 12]),
)
def test_hierarchical_rows_are_feasible(seed: int, node: list[int], slots: int) -> None:
    """Hosts of any size, with and without replicas; the generator settles all."""
    instance = routed(seed, node=node, slots=slots)
    assert instance.comm is not None
    first, again = (
        hierarchical_row(instance, instance.comm, 0, np.random.default_rng(seed))
        for _ in range(2)
    )
    assert (first == again).all()
    one = Placement(first[None], instance.slots)
    assert not violations(instance.layer(0), one)


def test_hierarchical_rows_keep_families_of_tokens_on_a_host() -> None:
    """Experts of two families end on a host each, and loads stay balanced."""
    rng = np.random.default_rng(1)
    family = rng.integers(2, size=4000)
    ids = 2 * rng.random((4000, 8)).argsort(axis=1)[:, :3] + family[:, None]
    routing = gemopt.TokenRouting.from_arrays(ids[:, None], np.arange(0, 4001, 400))
    comm = gemopt.Communication.from_routing(
        routing, gemopt.topology("400g-hosts"), num_experts=16, hidden=64
    )
    instance = Instance.from_arrays(
        routing.counts(16),
        [gemopt.latency.affine(1, 1)] * 4,
        node=[0, 0, 1, 1],
        comm=comm,
    )
    row = hierarchical_row(instance, comm, 0, rng)
    assert len(set(row[:8] % 2)) == len(set(row[8:] % 2)) == 1
    load = instance.loads[0].sum(axis=1)[row].reshape(4, 4).sum(axis=1)
    assert load.max() < 1.05 * load.mean()


@pytest.mark.parametrize("preset", ["fast", "default"])
def test_every_preset_of_search_sees_communication(preset: str) -> None:
    """On equal GPUs with slow links search beats the placement for load alone."""
    instance = routed(5, node=[0, 0, 1, 1], tokens=40, experts=16, slots=16)
    assert instance.comm is not None
    slow = gemopt.Topology(gemopt.Link(1, 1), gemopt.Link(1, 0.5))
    equal = replace(
        instance,
        latency=(gemopt.latency.affine(1, 0.1),) * 4,
        comm=replace(instance.comm, topology=slow),
    )
    params = {"preset": preset}
    joint = gemopt.solve(equal, "search", params=params).objective
    alone = gemopt.solve(replace(equal, comm=None), "search", params=params).placement
    assert alone is not None
    assert joint < 0.99 * evaluate(equal, alone).objective
