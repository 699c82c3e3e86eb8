"""The objective against its numpy twin, and the figures derived from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.engines.balance import sglang, tensorrt_llm, vllm, vllm_ascend
from gemopt.latency import TileActive, affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests import twins
from tests.strategies import FAMILIES, instances, placements


@pytest.mark.parametrize("family", FAMILIES)
@given(st.data())
def test_kernel_equals_numpy_twin(family, data):
    """Every GPU's latency equals `LatencyModel.us`, whatever family, slots, weights."""
    instance = data.draw(instances((family,)))
    placement = data.draw(placements(instance))
    result = gemopt.evaluate(instance, placement)
    np.testing.assert_allclose(
        result.per_gpu, twins.per_gpu(instance, placement), rtol=1e-12, atol=1e-9
    )
    expected = twins.objective(instance, placement)
    assert result.objective == pytest.approx(expected, rel=1e-12, abs=1e-9)
    np.testing.assert_allclose(result.per_step, result.per_gpu.max(axis=2))


def hand_made():
    """Two GPUs (1 + tokens, 2 + 2 tokens), three steps, one layer, E0 | E1."""
    counts = np.array([[[4, 1]], [[3, 1]], [[0, 4]]])
    instance = Instance.from_arrays(
        counts, [affine(1, 1), affine(2, 2)], weights=[1, 2, 3]
    )
    return instance, Placement(np.array([[0, 1]]), instance.slots)


def test_by_hand():
    """Objective, steps, stragglers and idle time of a case worked out by hand."""
    result = gemopt.evaluate(*hand_made())
    np.testing.assert_allclose(result.per_gpu[:, 0], [[5, 4], [4, 4], [1, 10]])
    np.testing.assert_allclose(result.per_step[:, 0], [5, 4, 10])
    assert result.objective == pytest.approx(1 * 5 + 2 * 4 + 3 * 10)
    # GPU 0 is slowest in step 0, ties in step 1: (1 + 2 / 2) / 6.
    np.testing.assert_allclose(result.straggler_share, [2 / 6, 4 / 6])
    busy = 1 * 4.5 + 2 * 4 + 3 * 5.5
    assert result.idle_fraction == pytest.approx(1 - busy / 43)


def test_replicas_split_evenly():
    """Copies share the tokens of their expert, each active with its own tiles."""
    counts = np.array([[[7, 1]]])
    tiles = TileActive(per_active_us=1, per_tile_us=10, tile=2)
    instance = Instance.from_arrays(counts, [tiles, tiles], slots=[1, 2])
    result = gemopt.evaluate(instance, Placement(np.array([[0, 0, 1]]), [1, 2]))
    np.testing.assert_allclose(result.tokens[0, 0], [3.5, 4.5])
    np.testing.assert_allclose(result.per_gpu[0, 0], [1 + 20, 2 + 30])


@given(st.data())
def test_shares_of_time(data):
    """Straggler shares sum to 1, idle time lies in 0..1, layers sum to the total."""
    instance = data.draw(instances())
    result = gemopt.evaluate(instance, data.draw(placements(instance)))
    assert result.straggler_share.sum() == pytest.approx(1)
    assert -1e-9 <= result.idle_fraction <= 1
    assert result.per_layer.sum() == pytest.approx(result.objective)
    np.testing.assert_allclose(
        result.tokens.sum(axis=2), instance.step_tokens.T, atol=1e-4
    )


def test_steps_of_weight_zero_do_not_count():
    """Dropping steps of weight 0 changes neither objective nor stragglers."""
    instance, placement = hand_made()
    zeroed = Instance.from_arrays(instance.counts, instance.latency, weights=[1, 2, 0])
    both = [gemopt.evaluate(i, placement) for i in (zeroed, instance.steps(0, 2))]
    assert both[0].objective == both[1].objective == 13
    np.testing.assert_allclose(both[0].straggler_share, both[1].straggler_share)


def test_a_part_without_weight():
    """A slice whose steps all weigh 0 costs nothing and has no straggler."""
    instance, placement = hand_made()
    weights = [0, 0, 1]
    zeroed = Instance.from_arrays(instance.counts, instance.latency, weights=weights)
    result = gemopt.evaluate(zeroed.steps(0, 2), placement)
    assert result.objective == 0
    assert result.idle_fraction == 0
    np.testing.assert_allclose(result.straggler_share, [0, 0])


TOKENS = np.array([[[4.0, 2.0], [1.0, 1.0]], [[2.0, 6.0], [0.0, 0.0]]])


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        # steps: (3 + 1) / (4 + 1) and 4 / 6
        (vllm, (4 / 5 + 4 / 6) / 2),
        # steps x layers: 3/4, 1, 4/6 and 1 where nothing runs (epsilon over epsilon)
        (sglang, (3 / 4 + 1 + 4 / 6 + 1) / 4),
        # layers: sums (6, 8) and (1, 1)
        (vllm_ascend, (8 / 7 + 1) / 2),
        # steps x layers with tokens: 1/3, 0, 2/4
        (tensorrt_llm, (1 / 3 + 0 + 1 / 2) / 3),
    ],
)
def test_balancedness_by_hand(rule, value):
    """Each engine's figure on loads worked out by hand."""
    assert rule(TOKENS) == pytest.approx(value, rel=1e-5)


def test_balancedness_of_nothing():
    """Without tokens every figure is at its best."""
    silent = np.zeros((2, 1, 3))
    assert [vllm(silent), sglang(silent), vllm_ascend(silent)] == [1, 1, 1]
    assert tensorrt_llm(silent) == 0


def test_balancedness_has_engine_names():
    """An evaluation gives the four figures under the engines' names."""
    figures = gemopt.evaluate(*hand_made()).balancedness
    assert sorted(figures) == ["sglang", "tensorrt_llm", "vllm", "vllm_ascend"]
    assert figures["vllm_ascend"] == pytest.approx(7 / 6.5)
