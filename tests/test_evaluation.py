"""The objective against its numpy twin, and the figures derived from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.balance import sglang, tensorrt_llm, vllm, vllm_ascend
from gemopt.latency import TileActive, affine
from gemopt.model import Instance, Placement
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
