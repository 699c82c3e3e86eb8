"""Assignment to groups of slots: capacities, least cost, and prices on loads."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.parts.capacitated import balanced, capacitated, distances


@given(st.integers(0, 10_000))
def test_it_is_the_cheapest_assignment(seed: int):
    """Brute force over all orders of the slots finds nothing cheaper."""
    rng = np.random.default_rng(seed)
    copies = rng.multinomial(2, np.ones(3) / 3) + 1
    capacity = rng.multinomial(5, np.ones(3) / 3)
    cost = rng.integers(0, 9, (3, 3)).astype(float)
    groups = capacitated(cost, copies, capacity)
    assert np.bincount(groups, minlength=3).tolist() == capacity.tolist()
    rows, columns = np.repeat(np.arange(3), copies), np.repeat(np.arange(3), capacity)
    least = min(cost[rows, list(order)].sum() for order in permutations(columns))
    assert cost[rows, groups].sum() == pytest.approx(least)


@given(st.integers(0, 10_000))
def test_prices_never_balance_worse_than_none(seed: int):
    """The fullest group is at most as full as in the unpriced assignment."""
    rng = np.random.default_rng(seed)
    cost, load = rng.random((6, 3)), rng.random(6)
    ones, capacity = np.ones(6, dtype=np.int64), np.array([2, 2, 2])
    plain = np.bincount(capacitated(cost, ones, capacity), weights=load)
    groups = balanced(cost, ones, capacity, load, np.ones(3) / 3)
    assert np.bincount(groups).tolist() == [2, 2, 2]
    assert np.bincount(groups, weights=load).max() <= plain.max() + 1e-12


def test_distance_is_least_where_the_friends_are():
    """Each expert is nearest to the group of those that it goes with."""
    affinity = np.array([[0, 5, 0, 1], [5, 0, 1, 0], [0, 1, 0, 5], [1, 0, 5, 0]], float)
    cost = distances(affinity, np.array([0, 0, 1, 1]), 2)
    assert cost.argmin(axis=1).tolist() == [0, 0, 1, 1]
    assert cost.max() - cost.min() == pytest.approx(1.0)
