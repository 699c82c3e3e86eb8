"""Tests of emulated GPUs."""

import numpy as np
import pytest

from gemopt.latency.variability import (
    SPREAD,
    TILE,
    emulated_curve,
    emulated_speeds,
)

MIXTRAL = {"experts": 8, "hidden": 4096, "intermediate": 14336}


@pytest.mark.parametrize("gpus", [4, 8])
@pytest.mark.parametrize("variability", sorted(SPREAD))
def test_spread_is_exact(gpus, variability):
    """The fastest GPU is exactly as much faster as stated, and the mean is 1."""
    speed = emulated_speeds(gpus, variability, seed=3)
    assert speed.max() / speed.min() == pytest.approx(1 + SPREAD[variability])
    assert speed.mean() == pytest.approx(1.0)
    assert (speed == emulated_speeds(gpus, variability, seed=3)).all()


def test_seeds_deal_speeds_to_other_gpus():
    """The slow GPU is not always the same one."""
    slowest = {int(emulated_speeds(4, "high", seed=s).argmin()) for s in range(20)}
    assert slowest == {0, 1, 2, 3}


def test_one_gpu_has_speed_one():
    """A single GPU cannot differ from itself."""
    assert emulated_speeds(1, "high").tolist() == [1.0]


def test_curve_is_a_staircase_of_tiles():
    """Latency is flat within a tile and rises at each boundary."""
    curve = emulated_curve(1.0, **MIXTRAL, max_tokens=1024)
    tokens = np.arange(0, 1025)
    steps = np.flatnonzero(np.diff(curve.at(tokens)))
    np.testing.assert_array_equal(steps, np.arange(0, 1024, TILE))
    beyond = curve.at([1024, 2048])
    assert beyond[1] > beyond[0]


def test_curve_meets_public_measurements():
    """Mixtral-8x7B on one L40S: published 3.9-4.4 ms when small, 8.2 at 1024 tokens."""
    curve = emulated_curve(1.0, **MIXTRAL, max_tokens=2048)
    assert 3500 < float(curve.at(64)) < 4400
    assert 7000 < float(curve.at(2 * 1024)) < 9000


def test_gap_between_gpus_grows_with_the_batch():
    """The slow GPU falls further behind, in part, as the batch grows."""
    fast, slow = (
        emulated_curve(speed, **MIXTRAL, max_tokens=4096) for speed in (1.1, 0.9)
    )
    gap = slow.at([64, 1024, 4096]) / fast.at([64, 1024, 4096]) - 1
    assert (np.diff(gap) > 0).all()
    assert 0.15 < gap[-1] < 1.1 / 0.9 - 1 + 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: emulated_speeds(4, "huge"), "variability = 'huge' is unknown"),
        (lambda: emulated_speeds(0, "low"), "gpus = 0"),
        (lambda: emulated_curve(0.0, **MIXTRAL, max_tokens=9), "speed = 0.0"),
        (lambda: emulated_curve(np.nan, **MIXTRAL, max_tokens=9), "speed = nan"),
        (lambda: emulated_curve(1.0, **MIXTRAL, max_tokens=0), "max_tokens = 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    """Every bad argument is named with its value."""
    with pytest.raises(ValueError, match=message):
        call()
