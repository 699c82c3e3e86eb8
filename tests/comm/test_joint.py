"""Descent on compute and communication: moves are judged as evaluation does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.check import violations
from gemopt.comm.cost import traffic
from gemopt.evaluation import combined, evaluate
from gemopt.incremental import LayerState
from gemopt.model import Instance, Placement
from solvers.joint.descent import joint_descent, layer_traffic
from solvers.joint.kernels import fill_traffic, total_after
from tests.comm.cases import random_placement, routed

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
