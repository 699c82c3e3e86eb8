"""DeepSeek's call and its three maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from gemopt.engines.deepseek.policy import rebalance_experts  # noqa: E402
from tests.serving.test_vllm import README_PHY2LOG, README_WEIGHT  # noqa: E402


def test_published_example():
    """phy2log, copies and the order of creation in log2phy are DeepSeek's."""
    phy2log, log2phy, logcnt = rebalance_experts(
        torch.tensor(README_WEIGHT), 16, 4, 2, 8
    )
    assert phy2log.tolist() == README_PHY2LOG
    assert logcnt.tolist() == [
        [1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1],
        [1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1],
    ]
    assert log2phy[0, 1].tolist() == [15, 13]
    for tensor in (phy2log, log2phy, logcnt):
        assert tensor.dtype == torch.int64 and tensor.device.type == "cpu"


@given(st.integers(0, 999), st.integers(0, 2))
def test_maps_belong_together(seed, spare):
    """log2phy and logcnt are the inverse of phy2log."""
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.random((2, 8)))
    phy2log, log2phy, logcnt = rebalance_experts(weight, 8 + 4 * spare, 1, 1, 4)
    assert log2phy.shape == (2, 8, int(logcnt.max()))
    for layer in range(2):
        for expert in range(8):
            slots = [s for s in log2phy[layer, expert].tolist() if s >= 0]
            assert len(slots) == len(set(slots)) == logcnt[layer, expert]
            assert (phy2log[layer, slots] == expert).all()


def test_shape_that_does_not_fit():
    """A weight that is no matrix is an AssertionError."""
    with pytest.raises(AssertionError, match="need"):
        rebalance_experts(torch.ones(4), 4, 1, 1, 2)
