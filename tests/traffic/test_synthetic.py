"""Tests of whole synthetic instances."""

import numpy as np
import pytest

from gemopt.traffic import synthetic_instance
from gemopt.traffic.synthetic import gpu_speeds


def test_equal_instance_has_the_stated_latency():
    """Equal GPUs take 60 + 0.11 tokens us, and get 1024 assignments in a mean step."""
    instance = synthetic_instance(64, 4, 68, steps=8, layers=2, seed=1)
    assert instance.slots.tolist() == [17] * 4
    assert (instance.step_tokens == 4096).all()
    assert instance.latency[0].us(np.array([1000.0])) == pytest.approx(170.0)
    assert len(set(instance.latency)) == 1


def test_unequal_speeds_are_clipped_with_one_slow_gpu():
    """One GPU runs at 0.85, the others within 0.9 and 1.1; latency is over speed."""
    speed = gpu_speeds(64, "unequal", seed=3)
    assert (speed == 0.85).sum() == 1
    others = speed[speed != 0.85]
    assert others.min() >= 0.9 and others.max() <= 1.1 and others.std() > 0.02
    instance = synthetic_instance(64, 64, steps=2, seed=3, speeds="unequal")
    idle = [float(model.us(np.zeros(1))) for model in instance.latency]
    np.testing.assert_allclose(idle, 60.0 / speed)


def test_slots_that_do_not_divide_go_to_the_first_gpus():
    """Slots are dealt evenly, the first GPUs get the rest."""
    instance = synthetic_instance(16, 3, 20, steps=2)
    assert instance.slots.tolist() == [7, 7, 6]


def test_seed_repeats_and_traffic_does_not_depend_on_speeds():
    """A seed gives the same counts whatever the speeds."""
    equal = synthetic_instance(32, 4, steps=16, seed=9)
    unequal = synthetic_instance(32, 4, steps=16, seed=9, speeds="unequal")
    assert (equal.counts == unequal.counts).all()
    assert (
        unequal.latency
        == synthetic_instance(32, 4, steps=16, seed=9, speeds="unequal").latency
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": 0}, "gpus = 0"),
        ({"slots": 7}, "fewer than 8 experts"),
        ({"speeds": "fast"}, "speeds = 'fast'"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    """Every bad argument is named with its value."""
    with pytest.raises(ValueError, match=message):
        synthetic_instance(**{"experts": 8, "gpus": 2, "steps": 2} | change)
