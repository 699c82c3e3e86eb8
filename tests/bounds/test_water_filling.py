"""Bound A against brute force and against worked examples."""

import numpy as np
import pytest
from hypothesis import given, settings

from gemopt import Instance
from gemopt.bounds.steps.water_filling import water_filling, water_filling_bound
from gemopt.latency import LatencyModel, TileActive, TokenCurve, affine
from tests.brute_force import best_placement
from tests.strategies import FAMILIES, instances


@settings(max_examples=60)
@given(instance=instances(max_experts=4, max_gpus=3, max_steps=4, max_layers=1))
def test_never_above_the_optimum(instance: Instance) -> None:
    """On mixed families, replicas and unequal slots the optimum is never undercut."""
    _, optimum = best_placement(instance)
    assert water_filling_bound(instance) <= optimum * (1 + 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_never_above_the_optimum_in_one_family(family: str) -> None:
    """The same, with all GPUs of one family, where the feature bound is at work."""

    @settings(max_examples=25)
    @given(instance=instances((family,), max_experts=4, max_gpus=3, max_layers=1))
    def check(instance: Instance) -> None:
        _, optimum = best_placement(instance)
        assert water_filling_bound(instance) <= optimum * (1 + 1e-9)

    check()


def _bound(counts: list[list[list[int]]], latency: list[LatencyModel]) -> np.ndarray:
    return water_filling(Instance.from_arrays(counts, latency))


def test_equal_gpus_share_whole_tokens() -> None:
    """Nine tokens on two equal GPUs are five and four."""
    bound = _bound([[[5, 2, 1, 1]]], [affine(10, 2)] * 2)
    assert bound == pytest.approx(np.array([[20.0]]), rel=1e-7)


def test_unequal_gpus_fill_to_one_level() -> None:
    """With twice the speed goes twice the load: 60 tokens as 40 and 20."""
    bound = _bound([[[15, 15, 15, 15]]], [affine(0, 1), affine(0, 2)])
    assert bound == pytest.approx(np.array([[40.0]]), rel=1e-7)


def test_a_dip_counts_as_capacity() -> None:
    """A GPU may pass its slow range when a larger load is faster again."""
    curve = TokenCurve([(10, 5), (20, 50), (30, 8)])
    bound = _bound([[[30, 30]]], [curve] * 2)
    assert bound == pytest.approx(np.array([[8.0]]), rel=1e-7)


def test_active_experts_and_tiles_count() -> None:
    """Four active experts with two tiles each on two equal GPUs: two and four each."""
    model = TileActive(1.0, 10.0, 3.0, 0.0, tile=64)
    bound = _bound([[[65, 65, 128, 128]]], [model] * 2)
    assert bound == pytest.approx(np.array([[1 + 20 + 12]]), rel=1e-7)


def test_an_idle_gpu_is_paid_for() -> None:
    """A step without tokens costs the largest idle latency."""
    bound = _bound([[[0, 0]]], [affine(3, 1), affine(7, 1)])
    assert bound == pytest.approx(np.array([[7.0]]), rel=1e-7)
