"""The GRACE-MoE-like baseline."""

import numpy as np
import pytest

import gemopt
from gemopt.latency import affine
from gemopt.model.check import violations
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.model.tokens import TokenRouting
from gemopt.parts.repair import EMPTY
from gemopt.testing import check_solver
from gemopt_solvers.grace import primary_slots, replicated
from tests.communication.cases import routed


def test_contract_with_communication() -> None:
    """All rules of the contract hold where there is communication."""
    check_solver("grace", [routed(0), routed(1, node=[0, 0, 1, 1], slots=12)])


def test_groups_go_to_hosts_first_and_then_to_gpus() -> None:
    """Families of tokens land on a host each, pairs inside them on a GPU each."""
    rng = np.random.default_rng(0)
    family, pair = rng.integers(2, size=4000), rng.integers(2, size=4000)
    other = rng.integers(8, size=4000) // 4 * 4 + rng.integers(4, size=4000)
    base = family * 4 + pair * 2
    ids = np.stack([base, base + 1], 1)
    mixed = rng.random(4000) < 0.2  # some tokens leave their pair, within the family
    ids[mixed, 1] = (family * 4 + (pair * 2 + 2 + other % 2) % 4)[mixed]
    order = rng.permutation(8)
    routing = TokenRouting.from_arrays(order[ids][:, None], [0, 4000])
    comm = Communication.from_routing(
        routing, gemopt.topology("400g-hosts"), num_experts=8, hidden=64
    )
    instance = Instance.from_arrays(
        routing.counts(8), [affine(1, 1)] * 4, node=[0, 0, 1, 1], comm=comm
    )
    placement = gemopt.solve(instance, "grace").placement
    assert placement is not None
    truth = np.argsort(order)[placement.phy2log[0]]
    assert {frozenset(truth[:4] // 4), frozenset(truth[4:] // 4)} == {
        frozenset([0]),
        frozenset([1]),
    }
    assert all(len(set(pair // 2)) == 1 for pair in truth.reshape(4, 2))


def test_hot_experts_of_the_fullest_gpu_are_copied_to_the_emptiest() -> None:
    """Free slots halve the hottest load again and again, never twice on a GPU."""
    load = np.array([90.0, 10.0, 5.0, 4.0, 3.0, 2.0])
    row = replicated(np.array([0, 0, 1, 1, 2, 2]), load, np.array([3, 3, 3]))
    assert row.tolist() == [0, 1, 2, 0, 2, 3, 0, 4, 5]


def test_a_slot_that_nothing_may_take_stays_empty() -> None:
    """A GPU that holds every expert leaves its further slots to repair."""
    row = replicated(np.array([0, 0]), np.array([2.0, 1.0]), np.array([3]))
    assert row.tolist() == [0, 1, EMPTY]


@pytest.mark.parametrize(
    ("slots", "experts", "room"),
    [([4, 4], 8, [4, 4]), ([3, 3, 3], 7, [3, 2, 2]), ([5, 2, 1], 5, [3, 1, 1])],
)
def test_first_copies_leave_room_in_proportion(
    slots: list[int], experts: int, room: list[int]
) -> None:
    """First copies fill each GPU by its slots."""
    assert primary_slots(np.array(slots), experts).tolist() == room


@pytest.mark.parametrize("node", [None, [0, 0, 1, 1], [0, 0, 0, 1]])
@pytest.mark.parametrize("slots", [8, 12])
def test_every_shape_is_feasible(node: list[int] | None, slots: int) -> None:
    """Hosts of any size, with and without replicas."""
    instance = routed(3, node=node, slots=slots)
    placement = gemopt.solve(instance, "grace").placement
    assert placement is not None
    assert not violations(instance, placement)
