"""Group-limited routing: as data, drawn, counted, kept on hosts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.cost.traffic import traffic
from gemopt.latency import affine
from gemopt.model.check import violations
from gemopt.model.communication import Communication
from gemopt.model.expert_groups import on_one_host_each
from gemopt.model.instance import Instance
from gemopt.model.tokens import TokenRouting
from gemopt.traffic import draw_tokens


def limited(
    seed: int = 0, *, slots: int = 32, exact: bool = True, tokens: int = 64
) -> Instance:
    """32 experts in 8 groups, 2 of them a token; 4 hosts of 2 GPUs."""
    routing = draw_tokens(
        4, 2, 32, tokens=tokens, top_k=4, n_group=8, topk_group=2, seed=seed
    )
    comm = Communication.from_routing(
        routing, gemopt.topology("400g-hosts"), num_experts=32, hidden=512
    )
    return Instance.from_arrays(
        routing.counts(32),
        [affine(5, 0.5)] * 8,
        slots=[slots // 8] * 8,
        node=np.repeat(np.arange(4), 2),
        comm=comm if exact else replace(comm, routing=None),
    )


@given(
    seed=st.integers(0, 2**32),
    groups=st.sampled_from([(1, 1), (4, 1), (4, 2), (4, 4), (8, 3)]),
    family=st.sampled_from(["bursts", "uniform", "zipf"]),
)
def test_drawn_tokens_keep_to_their_groups(
    seed: int, groups: tuple[int, int], family: str
) -> None:
    """No token uses more groups than it may, none takes an expert twice."""
    n_group, topk_group = groups
    sizes = {"tokens": 20, "top_k": 3, "family": family, "seed": seed}
    routing = draw_tokens(3, 2, 16, n_group=n_group, topk_group=topk_group, **sizes)  # type: ignore[arg-type]
    assert (routing.n_group, routing.topk_group) == groups
    assert routing.expert_ids.shape == (60, 2, 3)
    group = np.sort(routing.expert_ids // (16 // n_group), axis=2)
    assert (1 + (np.diff(group, axis=2) > 0).sum(axis=2)).max() <= max(
        topk_group, 1 if n_group > 1 else 3
    )
    again = draw_tokens(3, 2, 16, n_group=n_group, topk_group=topk_group, **sizes)  # type: ignore[arg-type]
    assert (again.expert_ids == routing.expert_ids).all()


def test_shares_are_drawn() -> None:
    """Without groups an expert's part of first choices nears its share."""
    routing = draw_tokens(50, 1, 8, tokens=400, top_k=1, family="zipf", seed=3)
    counts = routing.counts(8).sum(axis=(0, 1))
    expected = 1 / np.arange(1, 9) / (1 / np.arange(1, 9)).sum()
    np.testing.assert_allclose(np.sort(counts)[::-1] / 20_000, expected, atol=0.012)


@pytest.mark.parametrize("slots", [32, 40])
def test_groups_on_hosts_bound_the_hosts_of_a_token(slots: int) -> None:
    """With every group on one host no token visits more than topk_group hosts."""
    instance = limited(slots=slots)
    params = {"keep_groups": True}
    placement = gemopt.solve(instance, "cluster", params=params).placement
    assert placement is not None
    assert not violations(instance, placement)
    host = instance.node[instance.slot2gpu]
    for row in placement.phy2log:
        assert on_one_host_each(row, host, 8, 32)
    kept = traffic(instance, placement).inter_tokens
    assert (kept <= 2 * 64).all()
    free = gemopt.solve(instance, "random", seed=1, iterations=1).placement
    assert free is not None
    assert traffic(instance, free).inter_tokens.sum() > 1.3 * kept.sum()


def test_the_estimate_knows_the_limit() -> None:
    """Estimated visits stay below the limit, and near what is counted."""
    instance = limited(seed=2, tokens=2000)
    placement = gemopt.solve(instance, "linear").placement
    assert placement is not None
    exact = traffic(instance, placement)
    estimate = traffic(instance, placement, exact=False)
    ratio = estimate.inter_tokens.sum() / exact.inter_tokens.sum()
    assert 0.93 < ratio < 1.07
    one = replace(
        instance,
        comm=replace(instance.comm, routing=None, topk_group=1),  # type: ignore[type-var]
    )
    capped = traffic(one, placement, exact=False).inter_tokens
    assert (capped <= 2000 * 0.75 * (1 + 1e-9)).all()  # a quarter is at home


def test_instances_and_digests_keep_the_groups(tmp_path: Path) -> None:
    """Saving keeps both numbers, with and without token ids."""
    for exact in (True, False):
        instance = limited(exact=exact)
        gemopt.save(instance, tmp_path / "i.json")
        comm = gemopt.load(tmp_path / "i.json").comm
        assert comm is not None
        assert (comm.n_group, comm.topk_group) == (8, 2)
        assert (comm.routing is not None) == exact
        if comm.routing is not None:
            assert comm.routing.n_group == 8


def test_what_does_not_fit_is_named() -> None:
    """Numbers of groups, tokens and hosts that do not fit are refused."""
    with pytest.raises(ValueError, match="topk_group = 3"):
        TokenRouting.from_arrays([[[0]]], [0, 1], n_group=2, topk_group=3)
    routing = TokenRouting.from_arrays([[[0, 3]]], [0, 1], n_group=2, topk_group=1)
    with pytest.raises(ValueError, match=r"\[0, 3\] lies in 2 of 2 groups"):
        Communication.from_routing(
            routing, gemopt.topology("nvl72"), num_experts=4, hidden=8
        )
    with pytest.raises(ValueError, match="does not divide 5 experts"):
        Communication.from_routing(
            routing, gemopt.topology("nvl72"), num_experts=5, hidden=8
        )
    with pytest.raises(ValueError, match="top_k = 5 is more than the 4 experts"):
        draw_tokens(1, 1, 16, tokens=4, top_k=5, n_group=4, topk_group=1)
    plain = Instance.from_arrays(np.ones((1, 1, 4), int), [affine(1, 1)] * 2)
    with pytest.raises(ValueError, match="declares n_group"):
        gemopt.solve(plain, "cluster", params={"keep_groups": True})
    three = replace(limited(), node=np.array([0, 0, 0, 1, 1, 1, 2, 2]))
    with pytest.raises(ValueError, match="n_group = 8 cannot be shared out over 3"):
        gemopt.solve(three, "cluster", params={"keep_groups": True})
