"""The paper's heuristic: classes, start, descent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.cost.incremental import LayerState
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt_solvers.gem.classes import (
    CONSISTENT,
    OTHER,
    TEMPORAL,
    ClassRule,
    classify,
)
from gemopt_solvers.gem.classes import hot_fraction as fraction_of
from gemopt_solvers.gem.solver import SwapSearch, initial_placement
from tests.strategies import instances, placements, swaps


def bursts():
    """Expert 0 always hot, 1 and 2 hot together in 2 of 10 steps, the rest calm."""
    counts = np.full((10, 1, 8), 10)
    counts[:, 0, 0] = 60
    counts[[2, 7], 0, 1:3] = 90
    counts[:, 0, 7] = 0
    return counts


def instance_of(counts, speeds=(1, 1, 1, 1), **options):
    """Affine GPUs of the given slownesses."""
    return Instance.from_arrays(counts, [affine(0, s) for s in speeds], **options)


def test_classes_by_hand():
    """Always hot is consistent, hot in a fifth of the steps is temporal."""
    kind = classify(instance_of(bursts()), ClassRule())
    assert kind.tolist() == [
        [CONSISTENT, TEMPORAL, TEMPORAL, OTHER, OTHER, OTHER, OTHER, OTHER]
    ]


def test_hot_fraction_is_weighted_and_skips_silence():
    """Steps count by weight, and steps without tokens not at all."""
    counts = np.array([[[8, 1]], [[1, 8]], [[0, 0]]])
    instance = instance_of(counts, (1, 1), weights=[3, 1, 5])
    np.testing.assert_allclose(fraction_of(instance, 1.5), [[3 / 4, 1 / 4]])
    silent = instance_of(0 * counts, (1, 1))
    assert fraction_of(silent, 1.5).tolist() == [[0, 0]]


def test_stats_name_the_classes():
    """The result says which experts are consistent and which temporal."""
    result = gemopt.solve(instance_of(bursts()), "gem", iterations=1)
    assert result.stats["consistent"] == [[0]]
    assert result.stats["temporal"] == [[1, 2]]


def test_thresholds_are_parameters():
    """Other thresholds give other classes."""
    params = {"hot": 0.5, "consistent": 0.75}
    result = gemopt.solve(instance_of(bursts()), "gem", params=params, iterations=1)
    assert result.stats["consistent"] == [[0, 1, 2, 3, 4, 5, 6]]
    assert result.stats["temporal"] == [[]]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hot": 0}, "hot = 0"),
        ({"temporal_low": 0.5}, "temporal_low = 0.5"),
        ({"consistent": 0.3}, "consistent = 0.3"),
        ({"consistent": 1.1}, "consistent = 1.1"),
        ({"restarts": 0}, "restarts = 0"),
    ],
)
def test_refusals(params, message):
    """Thresholds out of order are refused by name and value."""
    with pytest.raises(ValueError) as caught:
        gemopt.solve(instance_of(bursts()), "gem", params=params)
    assert message in str(caught.value)


def test_start_keeps_hot_experts_apart_and_off_the_slow_gpu():
    """Experts hot together lie on different GPUs, none of them on the slowest."""
    instance = instance_of(bursts(), (1, 1, 1, 5))
    start = initial_placement(instance, classify(instance, ClassRule()))
    gpu = {e: g for g, held in enumerate(start.gpu2experts(0)) for e in held}
    assert len({gpu[0], gpu[1], gpu[2]}) == 3
    assert 3 not in (gpu[0], gpu[1], gpu[2])


@given(st.data())
def test_descent_ends_where_no_swap_improves(data):
    """After one descent no feasible swap of any two slots lowers the objective."""
    instance = data.draw(instances(max_layers=1, max_extra=3))
    first = data.draw(placements(instance))
    search = SwapSearch(instance, 0, first.phy2log)
    for _ in search.work(0, 0):
        pass
    row = search.best.phy2log[0]
    state = LayerState(instance, 0, row)
    assert state.objective == search.best.objective[0]
    assert state.objective <= gemopt.evaluate(instance, first).objective
    for a, b in swaps(row, instance.slot2gpu):
        assert state.after_swap(a, b) >= state.objective


def test_small_chunks_end_at_the_same_place(monkeypatch):
    """Interrupting a descent after every few swaps does not change its answer."""
    counts = np.random.default_rng(0).integers(0, 50, (16, 2, 16))
    instance = instance_of(counts)
    whole = gemopt.solve(instance, "gem", iterations=3).placement
    monkeypatch.setattr("gemopt_solvers.gem.solver._CHUNK", 1)
    assert gemopt.solve(instance, "gem", iterations=3).placement == whole


def test_restarts_help():
    """More restarts never cost more, and help on rugged traffic."""
    counts = np.random.default_rng(1).poisson(4, (16, 4, 16)) ** 3
    instance = instance_of(counts, (1, 1.1, 0.9, 1.3))
    costs = [
        gemopt.solve(instance, "gem", params={"restarts": n}).objective
        for n in (1, 4, 16)
    ]
    assert costs[0] > costs[1] >= costs[2]


def test_search_starts_from_the_start():
    """A local optimum given as start is kept where restarts find nothing better."""
    counts = np.random.default_rng(2).integers(0, 99, (8, 1, 8))
    instance = instance_of(counts)
    good = gemopt.solve(instance, "gem", params={"restarts": 50})
    again = gemopt.solve(instance, "gem", start=good.placement, iterations=0)
    assert again.placement == Placement(good.placement.phy2log, instance.slots)
