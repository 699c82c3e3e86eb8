"""Names of GPUs and experts mean nothing."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.bounds import quick_bound
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.strategies import instances, placements


def rebuilt(instance, counts, gpus=None):
    """An instance with other counts, and GPUs in another order."""
    gpus = range(instance.num_gpus) if gpus is None else gpus
    return Instance.from_arrays(
        counts,
        [instance.latency[g] for g in gpus],
        slots=instance.slots[list(gpus)],
        weights=instance.weights,
    )


@given(st.data())
def test_relabelling_experts(data):
    """New numbers for experts change neither cost nor bound."""
    instance = data.draw(instances())
    placement = data.draw(placements(instance))
    new = np.array(data.draw(st.permutations(range(instance.num_experts))))
    counts = np.empty_like(instance.counts)
    counts[:, :, new] = instance.counts
    other = rebuilt(instance, counts)
    moved = Placement(new[placement.phy2log], instance.slots)
    before = gemopt.evaluate(instance, placement)
    after = gemopt.evaluate(other, moved)
    assert after.objective == pytest.approx(before.objective, rel=1e-12)
    np.testing.assert_allclose(after.per_gpu, before.per_gpu, rtol=1e-12)
    assert quick_bound(other) == pytest.approx(quick_bound(instance), rel=1e-9)


@given(st.data())
def test_relabelling_gpus(data):
    """New numbers for GPUs change neither cost nor bound, and move the figures."""
    instance = data.draw(instances())
    placement = data.draw(placements(instance))
    gpus = data.draw(st.permutations(range(instance.num_gpus)))
    other = rebuilt(instance, instance.counts, gpus)
    rows = [
        [e for g in gpus for e in placement.gpu2experts(layer)[g]]
        for layer in range(instance.num_layers)
    ]
    moved = Placement(np.array(rows), other.slots)
    before = gemopt.evaluate(instance, placement)
    after = gemopt.evaluate(other, moved)
    assert after.objective == before.objective
    np.testing.assert_array_equal(after.per_gpu, before.per_gpu[:, :, list(gpus)])
    np.testing.assert_allclose(
        after.straggler_share, before.straggler_share[list(gpus)]
    )
    assert quick_bound(other) == pytest.approx(quick_bound(instance), rel=1e-9)


@given(st.data())
def test_order_of_slots_on_a_gpu(data):
    """Which slot of a GPU holds an expert does not change a bit of the cost."""
    instance = data.draw(instances())
    placement = data.draw(placements(instance))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows = [
        np.concatenate([rng.permutation(part) for part in placement.gpu2experts(layer)])
        for layer in range(instance.num_layers)
    ]
    mixed = Placement(np.array(rows), instance.slots)
    before = gemopt.evaluate(instance, placement)
    assert gemopt.evaluate(instance, mixed).objective == before.objective


@given(st.data())
def test_layers_are_independent(data):
    """The cost of an instance is the sum of the costs of its layers."""
    instance = data.draw(instances(max_layers=3))
    placement = data.draw(placements(instance))
    parts = [
        gemopt.evaluate(
            instance.layer(i), Placement(placement.phy2log[i : i + 1], instance.slots)
        ).objective
        for i in range(instance.num_layers)
    ]
    whole = gemopt.evaluate(instance, placement)
    np.testing.assert_array_equal(parts, whole.per_layer)


@given(st.data())
def test_repeating_a_step_is_a_weight(data):
    """A step of weight 2 costs what the step twice costs."""
    instance = data.draw(instances())
    placement = data.draw(placements(instance))
    counts = np.concatenate([instance.counts, instance.counts])
    doubled = Instance.from_arrays(
        counts,
        instance.latency,
        slots=instance.slots,
        weights=np.concatenate([instance.weights, instance.weights]),
    )
    weighted = dataclasses.replace(instance, weights=2 * instance.weights)
    assert gemopt.evaluate(doubled, placement).objective == pytest.approx(
        gemopt.evaluate(weighted, placement).objective, rel=1e-12
    )
