"""Bounds on the all-to-all against every placement of tiny instances."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemopt
from gemopt.bounds import lower_bound
from gemopt.bounds.communication import communication_bound, convex_below, cover
from gemopt.bounds.stored import save_bound, verified_bound
from gemopt.cost.evaluate import evaluate
from gemopt.cost.traffic import traffic
from gemopt.latency import affine
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.model.tokens import TokenRouting
from gemopt.model.topology import Link, Topology
from tests.brute_force import feasible_rows


@st.composite
def tiny(draw: st.DrawFn, extra: bool = True) -> Instance:
    """Five experts, skewed token ids, any links, hosts, slots (more too), sources."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    top_k, gpus = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    tokens, steps = draw(st.integers(1, 12)), 3
    heat = draw(st.sampled_from([0.0, 3.0])) * rng.random(5)
    noise = heat + rng.gumbel(size=(steps * tokens, 1, 5))
    ids = np.argsort(-noise, axis=2)[:, :, :top_k]
    given_source = draw(st.booleans())
    routing = TokenRouting.from_arrays(
        ids,
        np.arange(steps + 1) * tokens,
        rng.integers(gpus, size=steps * tokens) if given_source else None,
    )
    near, far = Link(2.0, 50.0), Link(9.0, draw(st.sampled_from([5.0, 40.0])))
    comm = Communication.from_routing(
        routing,
        Topology(near, far, hierarchical=draw(st.booleans())),
        num_experts=5,
        hidden=4096,
        overlap=draw(st.sampled_from([0.0, 0.4, 1.0])),
    )
    slots = {
        1: [[5]],
        2: [[3, 2], [4, 2]],
        3: [[2, 2, 1], [2, 2, 2]],
        4: [[2, 1, 1, 1], [2, 1, 2, 1]],
    }[gpus]
    return Instance.from_arrays(
        routing.counts(5),
        [affine(3, 0.5 + 0.2 * g) for g in range(gpus)],
        slots=draw(st.sampled_from(slots)) if extra else slots[0],
        node=draw(st.lists(st.integers(0, 1), min_size=gpus, max_size=gpus)),
        weights=[1.0, 0.0, 2.5],
        comm=comm,
    )


def placements(instance: Instance) -> list[Placement]:
    """Every placement of a one-layer instance."""
    return [
        Placement(np.array([[e for held in row for e in held]]), instance.slots)
        for row in feasible_rows(instance.num_experts, instance.slots)
    ]


@settings(max_examples=60)
@given(instance=tiny(), exact=st.booleans())
def test_no_placement_is_below_the_bound(instance: Instance, exact: bool) -> None:
    """At every step the bound holds for the best placement of that step alone."""
    if not exact:
        assert instance.comm is not None
        instance = replace(instance, comm=replace(instance.comm, routing=None))
    found = communication_bound(instance).us[0]
    least = np.full(instance.num_steps, np.inf)
    best = np.inf
    for placement in placements(instance):
        least = np.minimum(least, traffic(instance, placement).per_step[:, 0])
        best = min(best, evaluate(instance, placement).objective)
    assert (found <= least * (1 + 1e-12)).all()
    assert lower_bound(instance, "quick").value <= best * (1 + 1e-12)


def test_the_bound_is_reached_where_nothing_can_be_saved() -> None:
    """One slot a GPU: every token goes to all others; both bounds are exact."""
    ids = np.tile(np.arange(4), (8, 1))[:, None]
    routing = TokenRouting.from_arrays(ids, [0, 8])
    for links in ("nvlink-host", "400g-hosts", "400g-hosts-flat"):
        comm = Communication.from_routing(
            routing, gemopt.topology(links), num_experts=4, hidden=2880
        )
        instance = Instance.from_arrays(
            routing.counts(4),
            [affine(3, 1)] * 4,
            node=[0, 0, 0, 0] if links == "nvlink-host" else [0, 0, 1, 1],
            comm=comm,
        )
        placement = Placement(np.arange(4)[None], instance.slots)
        paid = traffic(instance, placement).per_step[0, 0]
        assert communication_bound(instance).us[0, 0] == pytest.approx(paid)
        result = gemopt.solve(instance, "linear", bound_effort="quick")
        assert result.status == gemopt.Status.OPTIMAL


def test_a_hot_expert_bounds_what_its_gpu_receives() -> None:
    """All tokens choose expert 0: those of the other GPUs must travel to it."""
    rng = np.random.default_rng(0)
    ids = np.stack([np.zeros(400, int), rng.integers(1, 8, 400)], 1)[:, None]
    routing = TokenRouting.from_arrays(ids, [0, 400])
    comm = Communication.from_routing(
        routing, Topology(Link(0, 1), Link(0, 1)), num_experts=8, hidden=500
    )
    instance = Instance.from_arrays(routing.counts(8), [affine(1, 1)] * 4, comm=comm)
    us_per_token = 500 * 4 / 1e3
    assert communication_bound(instance).us[0, 0] >= 300 * us_per_token


def test_without_communication_the_bound_is_zero() -> None:
    """No communication, or one GPU: nothing to bound, and bounds do not change."""
    counts = np.random.default_rng(0).poisson(9, (6, 2, 8))
    plain = Instance.from_arrays(counts, [affine(1, 1)] * 2)
    assert not communication_bound(plain).us.any()


def test_pieces_of_the_proof() -> None:
    """Groups are covered largest first; the convex function stays below."""
    assert cover(np.array([1, 3, 2]), 6).tolist() == [0, 1, 1, 1, 2, 2, 3]
    below = convex_below(np.array([2, 1, 1, 1, 0]))
    assert below.tolist() == pytest.approx([2, 1, 2 / 3, 1 / 3, 0])
    assert convex_below(np.array([4, 3, 2, 1, 0])).tolist() == [4, 3, 2, 1, 0]


def test_a_stored_bound_counts_communication_again(tmp_path: Path) -> None:
    """The verifier adds the same communication to a certified bound."""
    rng = np.random.default_rng(1)
    ids = rng.random((240, 1, 8)).argsort(axis=2)[:, :, :2]
    routing = TokenRouting.from_arrays(ids, np.arange(0, 241, 40))
    comm = Communication.from_routing(
        routing, gemopt.topology("pcie-box"), num_experts=8, hidden=999, overlap=0.5
    )
    instance = Instance.from_arrays(routing.counts(8), [affine(1, 1)] * 4, comm=comm)
    bound = lower_bound(instance, 0.5)
    assert bound.kind[0] in ("co-location", "sets")
    save_bound(bound, tmp_path / "b.safetensors", instance)
    proven = verified_bound(tmp_path / "b.safetensors", instance)
    assert proven == pytest.approx(bound.value, rel=1e-12)
    plain = lower_bound(replace(instance, comm=None), 0.5)
    assert bound.value > plain.value
