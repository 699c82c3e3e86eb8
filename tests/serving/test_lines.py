"""Lines that stand for the latency of ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.latency import TileActive, TokenCurve, affine
from gemopt.serving.lines import lines_for
from tests.strategies import FAMILIES


def counts(seed, rows=2, layers=3, experts=16):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 400, (rows, layers, experts))


@given(st.integers(0, 999), st.floats(0, 100), st.floats(0.01, 2))
def test_lines_stay_lines(seed, base, rise):
    """Affine latencies come out as they are, but for a shift of all bases."""
    models = (affine(base, rise), affine(base + 7.0, 2 * rise))
    bases, rises = lines_for(models, counts(seed), 8)
    np.testing.assert_allclose(rises, [rise, 2 * rise], rtol=1e-9)
    np.testing.assert_allclose(bases[1] - bases[0], 7.0, atol=1e-6)
    assert bases.min() == 1.0


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_lines_of_every_family(family, data):
    """Finite, never falling, and equal for equal ranks."""
    one, two = data.draw(FAMILIES[family]), data.draw(FAMILIES[family])
    bases, rises = lines_for((one, two, one), counts(data.draw(st.integers(0, 99))), 8)
    assert np.isfinite(bases).all() and (bases >= 1.0).all() and (rises >= 0.0).all()
    assert bases[0] == bases[2] and rises[0] == rises[2]


def test_staircase_becomes_its_mean_slope():
    """Ten us for each 16 tokens is 0.625 us a token."""
    stairs = TokenCurve([(16.0 * k, 10.0 * k) for k in range(1, 400)])
    _, rises = lines_for((stairs, stairs), counts(0), 8)
    np.testing.assert_allclose(rises, 0.625, rtol=0.02)


def test_active_experts_count_for_the_base():
    """All experts of a rank are busy on average: a constant, no slope."""
    model = TileActive(base_us=5.0, per_active_us=3.0, per_token_us=0.1)
    plain = affine(5.0, 0.1)
    bases, rises = lines_for((model, plain), counts(1), 8)
    np.testing.assert_allclose(bases[0] - bases[1], 24.0, rtol=1e-9)
    np.testing.assert_allclose(rises, 0.1, rtol=1e-9)


def test_no_tokens_at_all():
    """Loads of zero still give lines."""
    bases, rises = lines_for((affine(3.0, 0.5),), np.zeros((1, 2, 4), np.int64), 4)
    assert np.isfinite(bases).all() and np.isfinite(rises).all()
