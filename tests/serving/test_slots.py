"""Counting moves, choosing layers within a budget, inverse maps: properties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemopt.serving.slots import copies_of, incoming, log2phy_of, within_budget

sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))


def rows(seed, layers, ranks, local, experts):
    rng = np.random.default_rng(seed)
    return rng.integers(0, experts, (layers, ranks * local))


@given(sizes, st.integers(1, 6), st.integers(0, 999))
def test_incoming_experts_are_those_the_rank_did_not_hold(size, experts, seed):
    """A slot counts as a move if and only if its expert is new to the rank."""
    layers, ranks, local = size
    new = rows(seed, layers, ranks, local, experts)
    old = rows(seed + 1, layers, ranks, local, experts)
    moved = incoming(new, old, ranks)
    for layer, slot in np.ndindex(new.shape):
        rank = slot // local
        held = old[layer, rank * local : (rank + 1) * local]
        assert moved[layer, slot] == (new[layer, slot] not in held)


@given(
    st.lists(st.tuples(st.integers(-3, 5), st.integers(0, 6)), min_size=1, max_size=8),
    st.integers(0, 15),
)
def test_budget_is_never_exceeded(layers, budget):
    """Chosen layers gain, fit the budget, and no further gaining layer fits."""
    gain = np.array([float(g) for g, _ in layers])
    moves = np.array([m for _, m in layers])
    chosen = within_budget(gain, moves, budget)
    assert (gain[chosen] > 0).all()
    left = budget - moves[chosen].sum()
    assert left >= 0
    others = np.setdiff1d(np.flatnonzero(gain > 0), chosen)
    assert (moves[others] > left).all()


@given(sizes, st.integers(0, 999))
def test_slots_of_experts_are_the_inverse(size, seed):
    """log2phy lists every slot of every expert once, rising, then -1."""
    layers, ranks, local = size
    phy2log = rows(seed, layers, ranks, local, 4)
    log2phy = log2phy_of(phy2log, 4)
    copies = copies_of(phy2log, 4)
    for layer in range(layers):
        for expert in range(4):
            slots = np.flatnonzero(phy2log[layer] == expert).tolist()
            rest = log2phy.shape[2] - len(slots)
            assert log2phy[layer, expert].tolist() == slots + [-1] * rest
            assert copies[layer, expert] == len(slots)
