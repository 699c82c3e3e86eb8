"""Cost of the all-to-all: counted, estimated, and inside the objective."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.cost.traffic import traffic
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.communication.cases import random_placement, routed

HOSTS = [None, [0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]


def _counted_by_hand(
    instance: Instance, placement: Placement, layer: int
) -> dict[str, np.ndarray]:
    """Tokens sent and received on both links, token by token ``[gpus, steps]``."""
    comm = instance.comm
    assert comm is not None
    assert comm.routing is not None
    routing = comm.routing
    shape = (instance.num_gpus, instance.num_steps)
    seen = {key: np.zeros(shape) for key in ("out", "in", "far out", "far in")}
    node = instance.node
    hosts = sorted(set(node.tolist()))
    ranks = {g: int((node[:g] == node[g]).sum()) for g in range(instance.num_gpus)}
    row, owner = placement.phy2log[layer], placement.slot2gpu
    starts = routing.starts(instance.num_gpus)
    for step in range(instance.num_steps):
        for i in range(routing.step_offsets[step], routing.step_offsets[step + 1]):
            origin = int(starts[i])
            goals = set()
            for expert in routing.expert_ids[i, layer]:
                copies = np.flatnonzero(row == expert)
                goals.add(int(owner[copies[i % len(copies)]]))
            for host in hosts:
                here = {g for g in goals if node[g] == host}
                if not here:
                    continue
                sender = origin
                if host != node[origin]:
                    if not comm.topology.hierarchical:
                        for goal in here:
                            seen["far out"][origin, step] += 1
                            seen["far in"][goal, step] += 1
                        continue
                    mates = [g for g in ranks if node[g] == host]
                    sender = mates[ranks[origin] % len(mates)]
                    seen["far out"][origin, step] += 1
                    seen["far in"][sender, step] += 1
                for goal in here - {sender}:
                    seen["out"][sender, step] += 1
                    seen["in"][goal, step] += 1
    return seen


@given(
    seed=st.integers(0, 10**6),
    node=st.sampled_from(HOSTS),
    hierarchical=st.booleans(),
    slots=st.sampled_from([8, 12]),
    source=st.booleans(),
)
def test_exact_traffic_is_a_count_token_by_token(
    seed: int, node: list[int] | None, hierarchical: bool, slots: int, source: bool
) -> None:
    """Volumes and times equal a plain count, whatever the topology."""
    instance = routed(
        seed, node=node, hierarchical=hierarchical, slots=slots, source=source
    )
    placement = random_placement(instance, seed)
    found = traffic(instance, placement, exact=True)
    comm = instance.comm
    assert comm is not None
    several = len(set(instance.node.tolist())) > 1
    for layer in range(instance.num_layers):
        seen = _counted_by_hand(instance, placement, layer)
        assert found.intra_tokens[:, layer].tolist() == seen["out"].sum(0).tolist()
        assert found.inter_tokens[:, layer].tolist() == seen["far out"].sum(0).tolist()
        bytes_ = 4096 * 4
        near = np.maximum(seen["out"], seen["in"]).max(0) * bytes_ / 100e3
        far = np.maximum(seen["far out"], seen["far in"]).max(0) * bytes_ / 20e3
        alpha = 2 * (20.0 if several else 5.0)
        if several and hierarchical:
            expected = alpha + 10.0 + near + far
        else:
            expected = alpha + np.maximum(near, far)
        np.testing.assert_allclose(found.per_step[:, layer], expected, rtol=1e-12)


@given(seed=st.integers(0, 10**6), overlap=st.sampled_from([0.0, 0.3, 1.0]))
def test_objective_joins_compute_and_communication(seed: int, overlap: float) -> None:
    """The objective adds communication, less what overlaps with compute."""
    instance = routed(seed, overlap=overlap)
    placement = random_placement(instance, seed)
    result = gemopt.evaluate(instance, placement)
    assert result.communication is not None
    compute, comm = result.per_step, result.communication.per_step
    both = compute + comm - overlap * np.minimum(compute, comm)
    assert result.objective == pytest.approx(both.sum())
    assert (comm >= 0).all()
    if overlap == 1.0:
        assert result.objective == pytest.approx(np.maximum(compute, comm).sum())


def test_one_gpu_has_no_traffic() -> None:
    """A single GPU sends nothing and waits for nothing."""
    instance = routed(0, gpus=1)
    found = traffic(instance, random_placement(instance, 0))
    assert not found.per_step.any()
    assert not found.intra_tokens.any()
    estimate = traffic(instance, random_placement(instance, 0), exact=False)
    assert not estimate.per_step.any()


@given(seed=st.integers(0, 10**6), hierarchical=st.booleans())
def test_relabelled_experts_cost_the_same(seed: int, hierarchical: bool) -> None:
    """Renaming experts in routing and placement alike changes no cost."""
    instance = routed(seed, node=[0, 0, 1, 1], hierarchical=hierarchical)
    placement = random_placement(instance, seed)
    assert instance.comm is not None
    assert instance.comm.routing is not None
    new = np.random.default_rng(seed).permutation(instance.num_experts)
    ids = new[instance.comm.routing.expert_ids]
    routing = gemopt.TokenRouting.from_arrays(ids, instance.comm.routing.step_offsets)
    comm = gemopt.Communication.from_routing(
        routing, instance.comm.topology, num_experts=8, hidden=4096
    )
    renamed = Instance.from_arrays(
        routing.counts(8),
        instance.latency,
        slots=instance.slots,
        node=instance.node,
        comm=comm,
    )
    moved = Placement(new[placement.phy2log], placement.slots)
    for exact in (True, False):
        before = traffic(instance, placement, exact=exact).per_step
        np.testing.assert_allclose(
            traffic(renamed, moved, exact=exact).per_step, before
        )


@given(seed=st.integers(0, 10**6))
def test_relabelled_gpus_cost_the_same(seed: int) -> None:
    """Renaming GPUs, their hosts and the tokens' ranks changes no exact cost."""
    instance = routed(seed, node=[0, 0, 1, 1], source=True)
    placement = random_placement(instance, seed)
    comm = instance.comm
    assert comm is not None
    assert comm.routing is not None
    old = np.random.default_rng(seed).permutation(4)  # GPU old[g] becomes GPU g
    routing = gemopt.TokenRouting.from_arrays(
        comm.routing.expert_ids,
        comm.routing.step_offsets,
        source=np.argsort(old)[comm.routing.starts(4)],
    )
    renamed = Instance.from_arrays(
        instance.counts,
        [instance.latency[g] for g in old],
        slots=instance.slots[old],
        node=instance.node[old],
        comm=gemopt.Communication.from_routing(
            routing, comm.topology, num_experts=8, hidden=4096
        ),
    )
    rows = placement.phy2log.reshape(instance.num_layers, 4, -1)[:, old]
    moved = Placement(rows.reshape(instance.num_layers, -1), renamed.slots)
    np.testing.assert_allclose(
        traffic(renamed, moved).per_step, traffic(instance, placement).per_step
    )


def test_estimate_is_exact_on_average_for_independent_choices() -> None:
    """With many tokens that choose at random the estimate is within one per cent."""
    for hierarchical in (False, True):
        instance = routed(
            5, node=[0, 0, 1, 1], tokens=60_000, layers=1, hierarchical=hierarchical
        )
        placement = random_placement(instance, 1)
        exact = traffic(instance, placement)
        estimate = traffic(instance, placement, exact=False)
        assert not estimate.exact
        for name in ("per_step", "intra_tokens", "inter_tokens"):
            ratio = getattr(estimate, name).sum() / getattr(exact, name).sum()
            assert ratio == pytest.approx(1.0, abs=0.01), name


def test_split_counts_pairs_of_its_own_steps() -> None:
    """The seen half knows nothing of the pairs of the unseen half."""
    instance = routed(3, steps=4)
    seen, unseen = instance.split(0.5)
    assert seen.comm is not None
    assert unseen.comm is not None
    assert instance.comm is not None
    mean = (seen.comm.pairs + unseen.comm.pairs) / 2
    np.testing.assert_allclose(mean, instance.comm.pairs)
    assert (seen.comm.pairs != instance.comm.pairs).any()


def test_bad_arguments_are_named() -> None:
    """Routing and communication refuse values that cannot be, with the value."""
    routing = gemopt.TokenRouting.from_arrays(np.zeros((2, 1, 1)), [0, 2])
    topology = gemopt.topology("nvlink-host")
    with pytest.raises(ValueError, match="names an expert twice"):
        gemopt.TokenRouting.from_arrays([[[1, 1]]], [0, 1])
    with pytest.raises(ValueError, match="step_offsets must rise"):
        gemopt.TokenRouting.from_arrays(np.zeros((2, 1, 1)), [0, 3])
    with pytest.raises(ValueError, match="negative id -1"):
        gemopt.TokenRouting.from_arrays([[[-1]]], [0, 1])
    with pytest.raises(ValueError, match="overlap = 2"):
        gemopt.Communication.from_routing(
            routing, topology, num_experts=2, hidden=8, overlap=2
        )
    with pytest.raises(ValueError, match="'nvlink-hos' is unknown; did you mean"):
        gemopt.topology("nvlink-hos")
    comm = gemopt.Communication.from_routing(routing, topology, num_experts=2, hidden=8)
    with pytest.raises(ValueError, match="counts differ"):
        Instance.from_arrays([[[1, 1]]], [gemopt.latency.affine(1, 1)], comm=comm)
