"""Keeping slots, counting moves, choosing layers, aligning ranks: properties."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemopt.policies.align import aligned
from gemopt.policies.slots import (
    copies_of,
    incoming,
    kept_in_place,
    log2phy_of,
    within_budget,
)

sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))


def rows(seed, layers, ranks, local, experts):
    rng = np.random.default_rng(seed)
    return rng.integers(0, experts, (layers, ranks * local))


@given(sizes, st.integers(1, 6), st.integers(0, 999))
def test_kept_in_place_equals_its_plain_form(size, experts, seed):
    """Slot by slot: an expert that stays takes its first old slot, others follow."""
    layers, ranks, local = size
    new = rows(seed, layers, ranks, local, experts)
    old = rows(seed + 1, layers, ranks, local, experts + 1) - 1
    got = kept_in_place(new, old, ranks)
    for layer in range(layers):
        for rank in range(ranks):
            part = slice(rank * local, (rank + 1) * local)
            left = new[layer, part].tolist()
            wanted = [-1] * local
            for slot, expert in enumerate(old[layer, part].tolist()):
                if expert in left:
                    wanted[slot] = expert
                    left.remove(expert)
            wanted = [left.pop(0) if e == -1 else e for e in wanted]
            assert got[layer, part].tolist() == wanted


@given(sizes, st.integers(1, 6), st.integers(0, 999))
def test_every_rank_keeps_its_experts(size, experts, seed):
    """Only the order within a rank changes, and doing it again keeps no slot more."""
    layers, ranks, local = size
    new = rows(seed, layers, ranks, local, experts)
    old = rows(seed + 1, layers, ranks, local, experts)
    got = kept_in_place(new, old, ranks)
    shape = (layers, ranks, local)
    np.testing.assert_array_equal(
        np.sort(got.reshape(shape)), np.sort(new.reshape(shape))
    )
    again = kept_in_place(got, old, ranks)
    assert (again == old).sum() == (got == old).sum()
    np.testing.assert_array_equal(kept_in_place(new, new, ranks), new)


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


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 999), st.integers(1, 2))
def test_alignment_moves_least(ranks, local, seed, classes):
    """No exchange of equal ranks shares more experts with the old placement."""
    rng = np.random.default_rng(seed)
    new = rng.integers(0, 6, (2, ranks * local))
    old = rng.integers(0, 6, (2, ranks * local))
    gpu2class = rng.integers(0, classes, ranks)
    node = np.zeros(ranks, dtype=np.int64)
    got = aligned(new, old, gpu2class, node).reshape(2, ranks, local)
    after, before = new.reshape(2, ranks, local), old.reshape(2, ranks, local)
    for layer in range(2):

        def shared(rows, layer=layer):
            return sum(
                len(set(a) & set(b))
                for a, b in zip(rows.tolist(), before[layer].tolist(), strict=True)
            )

        best = max(
            shared(after[layer][list(order)])
            for order in permutations(range(ranks))
            if (gpu2class[list(order)] == gpu2class).all()
        )
        assert shared(got[layer]) == best
        for kind in range(classes):
            alike = gpu2class == kind
            assert sorted(got[layer][alike].tolist()) == sorted(
                after[layer][alike].tolist()
            )


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
