"""Kernels of the default solver equal plain numpy."""

import numpy as np
import pytest

from gemopt.parts.copies import replica_counts
from gemopt.traffic import synthetic_instance
from gemopt_solvers.search.first.copies import copies_into, room_of, volatility_into
from gemopt_solvers.search.first.greedy import fullest_first_into, greedy_into
from gemopt_solvers.search.layer import LayerSearch
from gemopt_solvers.search.state.latency import exchange_cost, rest_into
from gemopt_solvers.search.state.moments import moments_into
from gemopt_solvers.search.state.sums import sum_lanes
from gemopt_solvers.search.state.windows import (
    padded,
    windows_into,
    windows_of_rows_into,
)

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("steps", [16, 48, 64, 192, 256, 320, 1024])
def test_sum_lanes_sums(steps: int) -> None:
    """The lanes hold the sum of the row, whatever its length."""
    assert padded(steps) == steps
    values = RNG.random((2, steps)).astype(np.float32)
    wanted = values[1].sum(dtype=np.float64)
    assert sum_lanes(values, 1, steps) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("even", [True, False])
def test_windows_are_weighted_means(even: bool) -> None:
    """Both layouts give the weighted mean of each window, the last one shorter."""
    loads = RNG.integers(0, 99, (5, 22))
    weights = np.ones(22) if even else RNG.random(22)
    weights[8:12] = weights[8:12] if even else 0.0
    out, rows = np.empty((5, 16), np.float32), np.empty((1, 5, 16), np.float32)
    windows_into(loads, weights, 4, out)
    windows_of_rows_into(loads.T[:, None].copy(), weights, 4, rows)
    for w in range(6):
        part = slice(4 * w, min(22, 4 * w + 4))
        total = weights[part].sum()
        wanted = loads[:, part] @ weights[part] / total if total else np.zeros(5)
        np.testing.assert_allclose(out[:, w], wanted, rtol=1e-6)
        np.testing.assert_allclose(rows[0, :, w], wanted, rtol=1e-6)
    assert not out[:, 6:].any()


@pytest.mark.parametrize("slots", [[4, 4, 4], [6, 4, 2], [8, 3, 1], [8, 8, 8]])
def test_copies_equal_the_numpy_rule(slots: list[int]) -> None:
    """Need per copy, as far as copies fit on distinct GPUs: `replica_counts`."""
    need = RNG.gamma(0.5, 1.0, 8)
    room, copies = room_of(np.array(slots)), np.zeros(8, dtype=np.int64)
    copies_into(need, room, copies)
    wanted = replica_counts(need[None], np.array(slots))[0]
    np.testing.assert_array_equal(copies, wanted)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_fills_every_slot(seed: int) -> None:
    """Tight and unequal slots are filled, no expert twice on a GPU, copies as dealt."""
    rng = np.random.default_rng(seed)
    slots = rng.integers(1, 7, 4)
    slots[0] += max(0, 6 - int(slots.sum()))
    slots = slots.clip(max=6)
    room, copies = room_of(slots), np.zeros(6, dtype=np.int64)
    copies_into(rng.gamma(0.3, 1.0, 6), room, copies)
    first = np.concatenate([[0], np.cumsum(slots)])
    for by_load in (True, False):
        row, held = np.full(first[-1], -1), np.zeros((6, 4), dtype=np.bool_)
        if by_load:
            greedy_into(rng.random(6), copies, np.ones(4), np.ones(4), first, row, held)
        else:
            fullest_first_into(copies, first, row, held)
        np.testing.assert_array_equal(np.bincount(row, minlength=6), copies)
        for g in range(4):
            part = row[first[g] : first[g + 1]]
            assert len(set(part.tolist())) == slots[g]
            np.testing.assert_array_equal(np.flatnonzero(held[:, g]), np.sort(part))


def test_moments_and_volatility() -> None:
    """Second moments and mean + z sd are the weighted ones."""
    load = RNG.random((7, 16)).astype(np.float32)
    weights = RNG.random(16).astype(np.float32)
    moment, turned = np.empty((7, 7), np.float32), np.empty((16, 7), np.float32)
    moments_into(load, weights, moment, turned)
    share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    np.testing.assert_allclose(moment, (load * share) @ load.T, rtol=1e-5)
    mean, need = np.empty(7), np.empty(7)
    volatility_into(load, weights, 3.0, mean, need)
    wanted = load.astype(np.float64) @ share
    sd = np.sqrt((load.astype(np.float64) - wanted[:, None]) ** 2 @ share)
    np.testing.assert_allclose(need, wanted + 3.0 * sd, rtol=1e-5)


def test_cost_of_an_exchange_is_that_of_the_exchanged_row() -> None:
    """What a trial predicts is what the state costs after it."""
    instance = synthetic_instance(16, 4, 20, steps=40, speeds="unequal")
    search = LayerSearch(instance, 0)
    search.take(np.tile(np.arange(16), 2)[:20])
    state, row = search.fine, search.best.copy()
    for i, j in ((0, 7), (2, 13), (4, 19), (6, 11)):
        a, b = i // 5, j // 5
        if row[i] in row[5 * b : 5 * b + 5] or row[j] in row[5 * a : 5 * a + 5]:
            continue
        search.take(row)
        rest_into(state.times, a, b)
        predicted = exchange_cost(state, search.curves, a, b, row[i], row[j])
        after = row.copy()
        after[i], after[j] = row[j], row[i]
        search.take(after)
        assert predicted == pytest.approx(search.now, rel=1e-5)
