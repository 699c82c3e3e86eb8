"""What vllm-ascend asks of a policy, and the checks that it makes itself."""

import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from gemopt.engines.ascend.policy import GemoptAscendPolicy  # noqa: E402
from gemopt.serving import guard  # noqa: E402


def start_table(layers, ranks, local, experts):
    """Experts in order, further slots repeat them."""
    row = torch.arange(ranks * local) % experts
    return row.reshape(1, ranks, local).repeat(layers, 1, 1)


def require_accepted(old, new):
    """vllm-ascend would take every layer of the new table."""
    assert new.shape == old.shape and new.dtype == torch.int64
    for layer in range(len(old)):
        assert set(new[layer].flatten().tolist()) == set(old[layer].flatten().tolist())
        for before, after in zip(old[layer].tolist(), new[layer].tolist(), strict=True):
            assert len(set(after)) == len(after), "an expert twice on a rank"
            for slot, expert in enumerate(after):
                if expert in before:
                    assert before[slot] == expert, "moved inside the rank"


def imbalance(table, loads):
    """Mean over layers of max / mean tokens of a rank."""
    ratios = []
    for rows, load in zip(table.numpy(), loads, strict=True):
        share = load / np.bincount(rows.ravel(), minlength=len(load))
        of_rank = share[rows].sum(axis=1)
        ratios.append(of_rank.max() / of_rank.mean())
    return float(np.mean(ratios))


@given(
    seed=st.integers(0, 999),
    ranks=st.integers(2, 5),
    local=st.integers(2, 4),
    spare=st.integers(0, 3),
)
def test_new_table_is_accepted(seed, ranks, local, spare):
    """No expert vanishes, none is twice on a rank, none moves inside a rank."""
    experts = max(ranks * local - spare, local)
    old = start_table(2, ranks, local, experts)
    rng = np.random.default_rng(seed)
    work = torch.tensor(rng.integers(0, 1000, old.shape))
    changed, priority, new = GemoptAscendPolicy().rebalance_experts(old, work)
    require_accepted(old, new)
    assert changed == int(not new.equal(old))
    assert sorted(priority.tolist()) == [0, 1]


def test_balance_of_the_published_recipe():
    """58 x 32 x 9 slots, 256 experts, summed stages: max/mean at most 1.08."""
    old = start_table(58, 32, 9, 256)
    rng = np.random.default_rng(5)
    stages = (rng.random((100, 58, 256)) ** 10 * 999 + 1).sum(axis=0)
    copies = np.bincount(old[0].flatten(), minlength=256)
    work = torch.tensor((stages / copies)[:, old[0]].astype(np.int64))
    _, _, new = GemoptAscendPolicy().rebalance_experts(old, work)
    require_accepted(old, new)
    assert imbalance(old, stages) > 1.1
    assert imbalance(new, stages) <= 1.08


def test_workload_that_does_not_fit():
    """A workload of another shape is an AssertionError that names both."""
    old = start_table(1, 2, 2, 4)
    with pytest.raises(AssertionError, match="expert_workload has shape"):
        GemoptAscendPolicy().rebalance_experts(old, torch.ones(1, 2, 3))


def test_failure_keeps_the_table(monkeypatch, caplog):
    """Whatever fails inside: the old table, nothing changed, one log entry."""

    def broken(request, config):
        raise RuntimeError("solver fell over")

    monkeypatch.setattr(guard, "place", broken)
    old = start_table(1, 2, 3, 4)
    with caplog.at_level(logging.ERROR):
        changed, _, new = GemoptAscendPolicy().rebalance_experts(
            old, torch.ones_like(old)
        )
    assert changed == 0 and new.equal(old)
    assert "solver fell over" in caplog.text


def test_elastic_scaling():
    """After `set_new_ep_size` the next table is for the new ranks, once."""
    policy = GemoptAscendPolicy()
    old = start_table(1, 4, 3, 8)
    policy.set_new_ep_size(3)
    _, _, new = policy.rebalance_experts(old, torch.ones_like(old))
    assert new.shape == (1, 3, 3)
    assert set(new.flatten().tolist()) == set(range(8))
    _, _, again = policy.rebalance_experts(old, torch.ones_like(old))
    assert again.shape == old.shape


def test_policy_answers_in_a_spawned_process():
    """vllm-ascend hands the policy to a child process, spawned too: it answers there.

    The child never runs the plugin; options reach it through its environment.
    """
    policy = GemoptAscendPolicy()
    old = start_table(2, 4, 3, 10)
    work = torch.tensor(np.random.default_rng(0).integers(1, 1000, old.shape))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        changed, _, new = pool.submit(policy.rebalance_experts, old, work).result()
    assert changed == 1
    assert new.equal(policy.rebalance_experts(old, work)[2])
