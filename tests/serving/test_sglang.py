"""What SGLang hands over: a circular buffer of steps, and its own placement."""

import logging
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gemopt.engines.sglang import policy as sglang  # noqa: E402
from gemopt.engines.sglang.policy import MAX_ROWS, around, rebalance_experts  # noqa: E402
from tests.serving.test_vllm import README_PHY2LOG, README_WEIGHT  # noqa: E402


def keywords(tokens, **changes):
    """The six keywords of SGLang's call."""
    return {
        "tokens_per_expert": tokens,
        "num_physical_experts": 12,
        "num_local_physical_experts": 3,
        "num_groups": None,
        "num_nodes": 1,
        "algorithm": None,
    } | changes


def traffic(steps, seed=0):
    """Steps of two MoE layers behind a dense one, which counts nothing."""
    rng = np.random.default_rng(seed)
    tokens = np.floor(rng.lognormal(4, 1, (steps, 3, 8))).astype(np.int32)
    tokens[:, 0] = 0
    return torch.tensor(tokens)


def require_maps(maps, layers=3, experts=8, slots=12):
    phy2log, log2phy, logcnt = maps
    assert phy2log.shape == (layers, slots) and phy2log.dtype == torch.int64
    for layer in range(layers):
        for expert in range(experts):
            found = [s for s in log2phy[layer, expert].tolist() if s >= 0]
            expected = (phy2log[layer] == expert).nonzero().flatten().tolist()
            assert found == expected and len(found) == logcnt[layer, expert] > 0


def test_maps_for_a_trace():
    """Three maps that belong together, for dense layers as well."""
    require_maps(rebalance_experts(**keywords(traffic(40))))


def test_unused_rows_do_not_matter():
    """Rows of zeros anywhere in the buffer change nothing."""
    tokens = traffic(30)
    padded = torch.zeros(50, 3, 8, dtype=torch.int32)
    padded[5:20], padded[30:45] = tokens[:15], tokens[15:]
    first = rebalance_experts(**keywords(tokens))
    second = rebalance_experts(**keywords(padded))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


def straggler(tokens, phy2log):
    """Sum over steps and layers of the fullest rank's tokens."""
    total = 0.0
    for layer, row in enumerate(phy2log.tolist()):
        share = tokens[:, layer].numpy() / np.bincount(row, minlength=8)
        of_rank = share[:, row].reshape(len(tokens), 4, 3).sum(axis=2)
        total += of_rank.max(axis=1).sum()
    return total


def test_order_of_the_buffer_hardly_matters():
    """A buffer that has wrapped round gives a placement of the same quality."""
    tokens = traffic(60)
    first = straggler(tokens, rebalance_experts(**keywords(tokens))[0])
    rolled = tokens.roll(23, dims=0)
    second = straggler(tokens, rebalance_experts(**keywords(rolled))[0])
    assert abs(first - second) <= 0.02 * first


def test_time_axis_is_used():
    """Less straggler load than from the sums alone."""
    tokens = traffic(64, seed=1)
    with_steps = straggler(tokens, rebalance_experts(**keywords(tokens))[0])
    sums = tokens.sum(dim=0)
    without = straggler(tokens, rebalance_experts(**keywords(sums))[0])
    assert with_steps < without


@pytest.mark.parametrize(
    ("steps", "rows", "each"),
    [(1, 1, 1), (64, 64, 1), (65, 32, 2), (1000, 62, 16), (0, 1, 1)],
)
def test_windows(steps, rows, each):
    """At most 64 rows, each the sum of equally many steps."""
    tokens = np.ones((max(steps, 1), 2, 4), dtype=np.int64) * (steps > 0)
    loads, row_steps = sglang.windows(tokens)
    assert loads.shape == (rows, 2, 4) and row_steps == each and rows <= MAX_ROWS
    assert (loads == each * (steps > 0)).all()


def test_one_step_gives_deepseeks_placement():
    """A single row has no time axis: DeepSeek's placement bit for bit."""
    weight = torch.tensor([README_WEIGHT])
    changes = {"num_groups": 4, "num_nodes": 2}
    sizes = {"num_physical_experts": 16, "num_local_physical_experts": 2}
    maps = rebalance_experts(**keywords(weight, **changes, **sizes))
    assert maps[0].tolist() == README_PHY2LOG


def test_hook_leaves_elastic_algorithms_alone():
    """They know which ranks are gone; ours does not."""
    algorithm = types.SimpleNamespace(name="elasticity_aware_hierarchical")
    answer = around(lambda **k: "theirs", **keywords(None, algorithm=algorithm))
    assert answer == "theirs"
    positional = (None, 12, 3, None, 1, algorithm)
    assert around(lambda *a: "theirs", *positional) == "theirs"


def test_hook_falls_back(caplog):
    """What we cannot answer goes to SGLang's own algorithm, with one log entry."""
    bad = keywords(traffic(3), num_physical_experts=13)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert around(lambda **k: "theirs", **bad) == "theirs"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("ready", [True, False])
def test_hook_starts_from_the_current_placement(monkeypatch, ready):
    """SGLang's own map of the process is what moves are counted from."""
    current = torch.arange(12).repeat(3, 1) % 8

    def metadata():
        if not ready:
            raise AttributeError("no resources yet")
        return types.SimpleNamespace(physical_to_logical_map_cpu=current)

    name = "sglang.srt.eplb.expert_location"
    module = types.SimpleNamespace(get_global_expert_location_metadata=metadata)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("GEMOPT_MOVE_BUDGET", "0")
    phy2log = around(None, **keywords(traffic(20)))[0]
    assert phy2log.equal(current) == ready
