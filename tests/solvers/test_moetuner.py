"""The MoETuner-like baseline."""

import itertools

import numpy as np
import pytest

import gemopt
from gemopt.latency import affine
from gemopt.model.check import violations
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.model.tokens import TokenRouting
from gemopt.testing import check_solver
from tests.communication.cases import routed


def pairs_of_tokens(
    near: float, *, per_step: int = 100, hierarchical: bool = False
) -> Instance:
    """Tokens choose experts e and e + 4 together, on GPUs with links of `near` GB/s."""
    rng = np.random.default_rng(4)
    first = rng.integers(4, size=2000)
    ids = np.stack([first, first + 4], 1)[:, None, :]
    routing = TokenRouting.from_arrays(ids, np.arange(0, 2001, per_step))
    links = gemopt.Link(1.0, near)
    comm = Communication.from_routing(
        routing,
        gemopt.Topology(links, links, hierarchical),
        num_experts=8,
        hidden=4096,
    )
    return Instance.from_arrays(
        routing.counts(8), [affine(1, 0.1)] * 4, node=[0, 0, 1, 1], comm=comm
    )


def test_contract_with_communication() -> None:
    """All rules of the contract hold where there is communication."""
    check_solver("moetuner", [routed(0), routed(1, node=[0, 0, 1, 1], overlap=0.5)])


def test_balances_loads_as_well_as_can_be() -> None:
    """Without communication stage 1 finds the most even loads of all."""
    load = np.array([41, 37, 29, 23, 19, 17, 13, 11, 7])
    instance = Instance.from_arrays(load[None, None], [affine(0, 1)] * 3)
    found = gemopt.solve(instance, "moetuner").objective
    best = min(
        max(load[list(a)].sum(), load[list(b)].sum(), load.sum() - load[[*a, *b]].sum())
        for a in itertools.combinations(range(9), 3)
        for b in itertools.combinations(sorted(set(range(9)) - set(a)), 3)
    )
    assert found == pytest.approx(best)


def test_slow_links_join_what_tokens_choose_together() -> None:
    """Pairs of the same tokens share a GPU where links are slow."""
    placement = gemopt.solve(pairs_of_tokens(1.0), "moetuner").placement
    assert placement is not None
    for held in placement.gpu2experts(0):
        assert len({expert % 4 for expert in held}) == 1


def test_stage_two_joins_clusters_of_the_same_tokens_on_a_host() -> None:
    """Clusters that share tokens share a host under a hierarchical all-to-all."""
    rng = np.random.default_rng(2)
    half = rng.integers(2, size=3000)  # tokens keep to experts 0, 2, 4, 6 or the others
    ids = 2 * rng.random((3000, 4)).argsort(axis=1)[:, :2] + half[:, None]
    routing = TokenRouting.from_arrays(ids[:, None], np.arange(0, 3001, 100))
    comm = Communication.from_routing(
        routing,
        gemopt.Topology(gemopt.Link(1, 900), gemopt.Link(1, 9), hierarchical=True),
        num_experts=8,
        hidden=4096,
    )
    instance = Instance.from_arrays(
        routing.counts(8), [affine(1, 0.01)] * 8, node=[0, 0, 0, 0, 1, 1, 1, 1],
        comm=comm,
    )  # fmt: skip
    placement = gemopt.solve(instance, "moetuner").placement
    assert placement is not None
    assert len({e % 2 for e in placement.phy2log[0, :4]}) == 1


def test_unequal_slots_are_kept() -> None:
    """Clusters have the sizes of the GPUs that take them."""
    instance = Instance.from_arrays(
        np.arange(1, 9)[None, None], [affine(1, 1)] * 3, slots=[1, 4, 3]
    )
    placement = gemopt.solve(instance, "moetuner").placement
    assert placement is not None
    assert not violations(instance, placement)


def test_what_it_cannot_take_is_refused() -> None:
    """Replicas and large programs are refused, with sizes."""
    with pytest.raises(ValueError, match="12 slots for 8 experts"):
        gemopt.solve(routed(0, slots=12), "moetuner")
    large = Instance.from_arrays(np.ones((1, 1, 256), int), [affine(1, 1)] * 8)
    with pytest.raises(ValueError, match="261120 products"):
        gemopt.solve(large, "moetuner")
    with pytest.raises(ValueError, match="work = 0"):
        gemopt.solve(routed(0), "moetuner", params={"work": 0})
