"""Laying a new placement over an old one: what stays, and that least moves."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.parts.align import align

slots_of = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any)


def rows(seed, layers, slots, experts):
    return np.random.default_rng(seed).integers(0, experts, (layers, sum(slots)))


def parts(row, slots):
    """Experts of each GPU."""
    return [part.tolist() for part in np.split(row, np.cumsum(slots)[:-1])]


@given(slots_of, st.integers(1, 3), st.integers(1, 6), st.integers(0, 999))
def test_equals_its_plain_form(slots, layers, experts, seed):
    """Slot by slot: an expert that stays takes its first old slot, others follow."""
    new = rows(seed, layers, slots, experts)
    old = rows(seed + 1, layers, slots, experts + 1) - 1
    got = align(old, new, slots)
    for layer in range(layers):
        wanted = []
        for before, left in zip(
            parts(old[layer], slots), parts(new[layer], slots), strict=True
        ):
            row = [-1] * len(before)
            for slot, expert in enumerate(before):
                if expert in left:
                    row[slot] = expert
                    left.remove(expert)
            wanted += [left.pop(0) if e == -1 else e for e in row]
        assert got[layer].tolist() == wanted


@given(slots_of, st.integers(1, 6), st.integers(0, 999))
def test_every_gpu_keeps_its_experts(slots, experts, seed):
    """Only the order within a GPU changes, and doing it again keeps no slot more."""
    new, old = rows(seed, 2, slots, experts), rows(seed + 1, 2, slots, experts)
    got = align(old, new, slots)
    for layer in range(2):
        for one, other in zip(
            parts(got[layer], slots), parts(new[layer], slots), strict=True
        ):
            assert sorted(one) == sorted(other)
    assert (align(old, got, slots) == old).sum() == (got == old).sum()
    np.testing.assert_array_equal(align(new, new, slots), new)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 999), st.integers(1, 2))
def test_moves_least(gpus, local, seed, classes):
    """No exchange of GPUs that are alike shares more experts with the old placement."""
    rng = np.random.default_rng(seed)
    slots = [local] * gpus
    new, old = rows(seed, 2, slots, 6), rows(seed + 1, 2, slots, 6)
    group = rng.integers(0, classes, gpus)
    got = align(old, new, slots, groups=group)
    for layer in range(2):
        before, after = parts(old[layer], slots), parts(new[layer], slots)

        def shared(sets, before=before):
            return sum(len(set(a) & set(b)) for a, b in zip(sets, before, strict=True))

        best = max(
            shared([after[g] for g in order])
            for order in permutations(range(gpus))
            if (group[list(order)] == group).all()
        )
        mine = parts(got[layer], slots)
        assert shared(mine) == best
        for kind in range(classes):
            alike = np.flatnonzero(group == kind)
            one = sorted(sorted(mine[g]) for g in alike)
            assert one == sorted(sorted(after[g]) for g in alike)


@pytest.mark.parametrize(
    ("old", "new", "slots", "message"),
    [
        ([[0, 1]], [[0, 1, 2]], [1, 2], r"old has shape \(1, 2\), new \(1, 3\)"),
        ([0, 1], [0, 1], [1, 1], "both 2-d"),
        ([[0, 1]], [[0, 1]], [1, 2], "slots sums to 3, the placements have 2"),
    ],
)
def test_shapes_that_do_not_fit(old, new, slots, message):
    """One line names the shapes."""
    with pytest.raises(ValueError, match=message):
        align(old, new, slots)
