"""Bounds of single steps, the best of three."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemopt.bounds.steps.counting import count_heavy
from gemopt.bounds.steps.minorant import minorant
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt_solvers.exact.rounds import _one_step_bounds
from tests.strategies import FAMILIES, instances


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_exact_solvers_start_from_the_best_bound_of_each_step(
    family: str, data: st.DataObject
) -> None:
    """At every step at least water-filling and, without replicas, counting."""
    instance = data.draw(instances(families=(family,)))
    bounds, flow = _one_step_bounds(instance), water_filling(instance)
    assert bounds.shape == flow.shape
    counts = instance.weights > 0
    for layer, steps in enumerate(bounds):
        least = flow[layer].copy()
        if instance.num_slots == instance.num_experts:
            least = count_heavy(minorant(instance, layer), least)
        assert (steps >= flow[layer]).all()
        assert (steps >= least * (1 - 1e-9))[counts].all()
        assert np.array_equal(steps, raised_steps(instance, layer, flow[layer])[0])
