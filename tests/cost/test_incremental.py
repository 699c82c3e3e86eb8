"""Incremental evaluation equals full evaluation to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.cost.incremental import LayerState
from gemopt.latency import TokenCurve, affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.strategies import FAMILIES, instances, moves, placements


def full(instance, layer, row):
    """Objective of one layer by `gemopt.evaluate`."""
    return gemopt.evaluate(
        instance.layer(layer), Placement(row[None], instance.slots)
    ).objective


@pytest.mark.parametrize("family", FAMILIES)
@given(st.data())
def test_sequences_equal_full_evaluation(family, data):
    """Predicted and applied objectives equal `evaluate` through a row of moves."""
    instance = data.draw(instances((family,), max_layers=1))
    state = LayerState(instance, 0, data.draw(placements(instance)).phy2log[0])
    assert state.objective == full(instance, 0, state.phy2log)
    for _ in range(5):
        row = state.phy2log
        move = data.draw(moves(row, instance.slot2gpu, instance.num_experts))
        if move is None:
            return
        kind, slot, other = move
        if kind == "swap":
            predicted = state.after_swap(slot, other)
            row[slot], row[other] = row[other], row[slot]
        else:
            predicted = state.after_replace(slot, other)
            row[slot] = other
        assert predicted == full(instance, 0, row)
        assert state.objective == full(instance, 0, state.phy2log)  # only looked
        (state.swap if kind == "swap" else state.replace)(slot, other)
        np.testing.assert_array_equal(state.phy2log, row)
        assert state.objective == predicted


@pytest.mark.parametrize("gpus", [1, 2, 3, 4, 5])
def test_every_swap_with_few_gpus(gpus):
    """The third-slowest trick holds with one, two and more GPUs, and with ties."""
    rng = np.random.default_rng(gpus)
    counts = rng.integers(0, 3, (40, 1, 2 * gpus))
    instance = Instance.from_arrays(counts, [affine(1, 1)] * gpus)
    state = LayerState(instance, 0, rng.permutation(2 * gpus))
    for a in range(2 * gpus):
        for b in range(2 * gpus):
            row = state.phy2log
            row[a], row[b] = row[b], row[a]
            assert state.after_swap(a, b) == full(instance, 0, row)


def test_gpu_without_slots_counts():
    """An idle GPU still takes its base latency, before and after a swap."""
    instance = Instance.from_arrays(
        np.array([[[1, 9]]]),
        [affine(1, 1), affine(50, 1), affine(1, 1)],
        slots=[1, 0, 1],
    )
    state = LayerState(instance, 0, np.array([0, 1]))
    assert state.objective == 50.0
    assert state.after_swap(0, 1) == 50.0


def test_last_replica_stays():
    """Replacing the only copy of an expert is refused."""
    instance = Instance.from_arrays(np.ones((1, 1, 2), int), [affine(1, 1)] * 2)
    state = LayerState(instance, 0, np.array([0, 1]))
    with pytest.raises(ValueError, match="last replica"):
        state.replace(0, 1)
    with pytest.raises(ValueError, match="last replica"):
        state.after_replace(0, 1)


def test_the_given_row_is_copied():
    """Moves do not write to the caller's row."""
    curve = TokenCurve([(4, 1), (8, 3)])
    instance = Instance.from_arrays(np.ones((2, 1, 2), int), [curve] * 2)
    row = np.array([0, 1])
    state = LayerState(instance, 0, row)
    state.swap(0, 1)
    np.testing.assert_array_equal(row, [0, 1])
    np.testing.assert_array_equal(state.phy2log, [1, 0])
