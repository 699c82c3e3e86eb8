"""Projections against plain numpy twins and against what defines them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from gemopt.bounds.colocation.projection_kernels import (
    excess_into,
    home_into,
    rows_into,
    shares_into,
)

SEEDS = st.integers(0, 2**32 - 1)


def excess(values: np.ndarray, size: np.ndarray, most: float) -> np.ndarray:
    """Twin of `excess_into`: the level is a root of a function of one number."""
    out = np.empty_like(values)
    for row, v in zip(out, values, strict=True):

        def over(level: float, v: np.ndarray = v) -> float:
            return float(np.maximum(v - level * size, 0.0) @ size) - most

        top = float(np.max(v / size))
        level = brentq(over, 0.0, top, xtol=1e-14) if over(0.0) > 0 else 0.0
        row[:] = np.maximum(v - level * size, 0.0)
    return out


@given(SEEDS)
def test_excess_equals_its_twin(seed: int) -> None:
    """Rows with one or many entries left, or none to be cut."""
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.choice([-2.0, 0, 3]), 5 ** rng.normal(), (4, 9))
    size, most = rng.choice([1.0, 2.0], 9), 3.0 * rng.random() + 0.01
    out = np.empty_like(values)
    excess_into(values, size, most, out)
    np.testing.assert_allclose(out, excess(values, size, most), atol=1e-9)


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_rows_equal_their_twin(real: type) -> None:
    """The fused update, in either precision, is the one written out in numpy."""
    rng = np.random.default_rng(0)
    ahead, kappa, y, u = rng.normal(0, 3, (4, 20, 15)).astype(real)
    size = rng.choice([1.0, 2.0], 15).astype(real)
    mass, back = rng.random(20).astype(real) + 1, np.empty_like(y)
    moved = 1.9 * ahead - 0.9 * y + u
    new = excess(moved - kappa, size, 2.0)
    rows_into(ahead, kappa, size, mass, 2.0, 1.9, y, u, back)
    close = 1e-4 if real is np.float32 else 1e-9
    np.testing.assert_allclose(u, new, atol=close)
    np.testing.assert_allclose(y, moved - new, atol=close)
    np.testing.assert_allclose(back, (moved - 2 * new) * mass[:, None], atol=close)


@given(SEEDS)
def test_homes_are_nearest(seed: int) -> None:
    """Twin: the price of each expert is a root of a rising function."""
    rng = np.random.default_rng(seed)
    own, on = rng.normal(0.5, 2, 6), rng.normal(0.3, 10 ** rng.normal(), (6, 5))
    most, anchor = rng.random(5) + 0.5, 2.0
    out_own, out_on = np.empty_like(own), np.empty_like(on)
    home_into(own, on, most, anchor, out_own, out_on)
    for e in range(6):

        def rest(price: float, e: int = e) -> float:
            x = np.clip(on[e] + 0.5 * price, 0.0, most)
            return float(x.sum() - anchor * (own[e] - anchor * price))

        price = brentq(rest, -1e4, 1e4, xtol=1e-12)
        wanted = np.clip(on[e] + 0.5 * price, 0.0, most)
        np.testing.assert_allclose(out_on[e], wanted, atol=1e-7)
    np.testing.assert_allclose(anchor * out_own, out_on.sum(axis=1))


def shares(v: np.ndarray, low: float, slots: float) -> np.ndarray:
    """Twin of `shares_into`: bisection inside bisection."""

    def at(price: float) -> np.ndarray:
        left, right = np.full(len(v), low), np.ones(len(v))
        for _ in range(80):
            x = 0.5 * (left + right)
            below = x - v < price / x**2
            left, right = np.where(below, x, left), np.where(below, right, x)
        return right

    if (1 / at(0.0)).sum() <= slots:
        return at(0.0)
    left, right = 0.0, 1e4
    for _ in range(100):
        middle = 0.5 * (left + right)
        enough = (1 / at(middle)).sum() <= slots
        left, right = (left, middle) if enough else (middle, right)
    return at(right)


@pytest.mark.parametrize("seed", range(8))
def test_shares_equal_their_twin(seed: int) -> None:
    """Within the slots, also far outside and where nothing has to give way."""
    rng = np.random.default_rng(seed)
    v = rng.normal(rng.choice([-3.0, 0.3, 0.9]), rng.choice([0.1, 2.0]), 10)
    slots = 10 + rng.integers(1, 20)
    out = np.empty_like(v)
    shares_into(v, 1 / 8, float(slots), out)
    assert (1 / out).sum() <= slots * (1 + 1e-12)
    np.testing.assert_allclose(out, shares(v, 1 / 8, float(slots)), atol=1e-6)
