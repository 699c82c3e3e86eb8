"""Nothing that an engine hands over makes a policy raise, or answer with a bad map."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from gemopt.engines.ascend.policy import GemoptAscendPolicy  # noqa: E402
from gemopt.engines.deepseek.policy import rebalance_experts as deepseek  # noqa: E402
from gemopt.engines.sglang.policy import rebalance_experts as sglang  # noqa: E402
from gemopt.engines.vllm.policy import GemoptPolicy  # noqa: E402
from gemopt.model.check import second_copies  # noqa: E402
from gemopt.serving.config import PolicyConfig  # noqa: E402
from gemopt.serving.guard import report_once  # noqa: E402
from gemopt.serving.request import as_loads, whole_loads  # noqa: E402
from gemopt.serving.slots import incoming  # noqa: E402
from tests.golden.cases import INSTANCES  # noqa: E402


def wasted(phy2log, ranks):
    """Slots whose rank holds their expert already."""
    return second_copies(phy2log, np.full(ranks, phy2log.shape[1] // ranks))


ODD = [0.0, 1.0, 7.5, -3.0, 3e38, 1e39, 1e300, float("inf"), float("nan"), 2.0**62]


@given(st.lists(st.sampled_from(ODD), min_size=12, max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_load_gives_a_valid_map(values):
    """NaN, infinities and overflow: every expert has a slot, no rank one twice."""
    load = torch.tensor(values, dtype=torch.float64).reshape(2, 6)
    for phy2log in (
        GemoptPolicy.rebalance_experts(load, 8, None, 1, 4),
        deepseek(load, 8, None, 1, 4)[0],
        sglang(load, 8, 2, None, 1)[0],
    ):
        assert all(set(row) == set(range(6)) for row in phy2log.tolist())
        assert not wasted(phy2log.numpy(), 4).any()


@given(st.lists(st.sampled_from(ODD), min_size=1, max_size=20))
def test_loads_become_finite(values):
    """Loads are finite and >= 0 also as sums in float32; a larger one stays larger."""
    clean = as_loads(np.array(values))
    assert np.isfinite(clean.astype(np.float32).sum()) and clean.min() >= 0
    known = np.array(values)
    pairs = np.argwhere(known[:, None] < known[None])
    assert all(clean[i] <= clean[j] for i, j in pairs)


def test_usual_loads_stay():
    """Loads that nothing is wrong with are handed on bit for bit."""
    loads = np.random.default_rng(0).lognormal(9, 1, (2, 8))
    assert np.array_equal(as_loads(loads), loads)


@pytest.mark.parametrize("total", [5.0, 4.0e9, 8.4e9, 1e13, 1e30])
def test_loads_fit_an_instance(total):
    """Any sum becomes whole numbers that an instance takes, shares kept."""
    share = np.random.default_rng(1).lognormal(0, 1, (1, 2, 128))
    share /= share.sum(axis=2, keepdims=True)
    counts, steps = whole_loads(share * total, 1000)
    assert steps >= 1 and counts.sum(axis=2).max() <= 2**32
    assert np.allclose(counts / counts.sum(axis=2, keepdims=True), share, atol=1e-6)
    if total < 1e3 * 2**32:  # each step by itself fits: its tokens stay
        assert counts.sum() / steps == pytest.approx(2 * total / 1000, rel=5e-3)


@pytest.mark.parametrize(("groups", "nodes"), [(1, 1), (8, 4)])
def test_no_expert_twice_on_a_rank(groups, nodes, monkeypatch):
    """No slot is wasted, unless DeepSeek's answer is asked for bit for bit."""
    rng = np.random.default_rng(22)
    load = torch.tensor(rng.lognormal(9.5, 0.8, (58, 256)).astype(np.int64))
    call = (load, 288, groups, nodes, 32)
    assert not wasted(deepseek(*call)[0].numpy(), 32).any()
    monkeypatch.setenv("GEMOPT_BIT_FOR_BIT", "1")
    assert wasted(deepseek(*call)[0].numpy(), 32).any()


@pytest.mark.parametrize("budget", [0, 1, 2, 5])
def test_ascend_keeps_the_budget(budget, monkeypatch):
    """A table that holds experts twice is mended no further than the budget goes."""
    monkeypatch.setenv("GEMOPT_MOVE_BUDGET", str(budget))
    row = [[0, 0, 1], [2, 3, 3], [4, 5, 6], [6, 7, 7]]
    table = np.array([row, row])
    work = np.random.default_rng(0).integers(1, 99, table.shape)
    _, _, new = GemoptAscendPolicy().rebalance_experts(
        torch.tensor(table), torch.tensor(work)
    )
    moved = incoming(new.numpy().reshape(2, -1), table.reshape(2, -1), 4)
    assert moved.sum() <= budget


def test_ascend_without_a_stage():
    """A load view of no stages yet changes nothing."""
    table = torch.arange(8).reshape(1, 4, 2)
    empty = torch.zeros(0, 1, 4, 2, dtype=torch.int64)
    changed, _, new = GemoptAscendPolicy().rebalance_experts(table, empty)
    assert changed == 0 and torch.equal(new, table)


def test_failures_that_differ_in_numbers_are_one_kind(caplog):
    """Only the first of two messages that differ in numbers is logged; words count."""
    with caplog.at_level(logging.ERROR):
        for text in ("slots = [1, 2]: 3e+09", "slots = [4]: nan", "ranks = 4: 1"):
            report_once(ValueError(text))
    assert len(caplog.records) == 2


def test_a_file_of_several_gpus():
    """One file may hold the profile of every rank."""
    name = "h100-deepseek-v3-e16-sm132_120_104_88.profile.json"
    config = PolicyConfig(profiles=(str(INSTANCES / "profiles" / name),))
    assert len(set(config.latency(4))) == 4
    with pytest.raises(ValueError, match="they hold 4 GPUs"):
        config.latency(3)
