"""Latency of an average step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.latency.averaged import averaged
from tests.strategies import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_sum_of_a_window_costs_what_its_average_costs(family, data):
    """n * k tokens in the averaged model cost what n tokens cost in the model."""
    model = data.draw(FAMILIES[family])
    steps = data.draw(st.sampled_from([1, 2, 64, 1000]))
    shares = np.array(data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=4)))
    step = float(shares.sum() + data.draw(st.integers(0, 100)))
    expected = model.us(shares, step)
    got = averaged(model, steps).us(shares * steps, step * steps)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
