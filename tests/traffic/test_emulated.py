"""Tests of whole instances on emulated GPUs."""

import numpy as np

from gemopt.traffic import emulated_instance, generate, shape


def test_traffic_speeds_and_slots_are_as_asked():
    """Counts are those of `generate`, GPUs differ, slots are dealt evenly."""
    sizes = shape("gpt-oss-20b")
    instance = emulated_instance(
        sizes, 4, 34, variability="high", steps=3, tokens=64, seed=5, name="x"
    )
    counts = generate(3, 24, 32, tokens=64, top_k=4, seed=5)
    np.testing.assert_array_equal(instance.counts, counts)
    assert instance.slots.tolist() == [9, 9, 8, 8]
    assert instance.layer_ids.tolist() == list(range(24)) and instance.name == "x"
    full = [float(model.us(np.array([256.0]))) for model in instance.latency]
    assert max(full) / min(full) > 1.2
    assert "gpt-oss-20b" in instance.provenance["summary"]


def test_no_variability_means_equal_gpus():
    """Without variability GPUs with as many slots share one latency model."""
    instance = emulated_instance(shape("Mixtral-8x7B"), 4, variability="none", steps=1)
    assert len(set(instance.latency)) == 1
