"""The covariance-aware baseline."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance
from gemopt.latency import affine
from gemopt.traffic import synthetic_instance
from gemopt_solvers.meancov import WINDOWS, Z, meancov_row, place_into
from gemopt_solvers.search.first.copies import room_of


def test_experts_that_swing_together_are_parted() -> None:
    """Equal means and variances: the two that are hot together get two GPUs."""
    hot = np.tile([40, 0], 32)
    counts = np.stack([hot, hot, 40 - hot, 40 - hot], axis=1)[:, None]
    instance = Instance.from_arrays(counts, [affine(1.0, 1.0)] * 2)
    placement = gemopt.solve(instance, "meancov").placement
    assert placement is not None
    parts = [set(part) for part in placement.gpu2experts(0)]
    assert {0, 1} not in parts


def test_beats_eplb_on_bursts() -> None:
    """On traffic with bursts it is better than means alone, seen and unseen."""
    instance = synthetic_instance(64, 8, 72, steps=512, layers=3, seed=5)
    for part in instance.split():
        seen = instance.split()[0]
        costs = [
            gemopt.evaluate(part, gemopt.solve(seen, name).placement).objective  # type: ignore[arg-type]
            for name in ("meancov", "eplb")
        ]
        assert costs[0] < costs[1]


def test_tree_search_improves_on_dealing_by_need_alone() -> None:
    """The tree search is never worse than its first leaf, and often better."""
    better = 0
    for seed in range(6):
        instance = synthetic_instance(32, 8, 40, steps=WINDOWS, seed=seed)
        loads, first = instance.loads[0], np.arange(0, 41, 5)
        mean, cov = loads.mean(axis=1), np.cov(loads, bias=True)
        need = mean + Z * np.sqrt(np.diag(cov))
        room, copies = room_of(instance.slots), np.empty(32, dtype=np.int64)
        leaf, free = np.empty(40, dtype=np.int64), np.full(1, -1)
        group = np.zeros(32, dtype=np.int64)
        place_into(mean, cov, need, group, free, room, first, copies, leaf)
        row = meancov_row(loads, instance.weights, instance.slots)
        worst = [_worst(loads, placed) for placed in (leaf, row)]
        assert worst[1] <= worst[0] * (1 + 1e-9)
        better += worst[1] < worst[0]
    assert better >= 3


def _worst(loads: np.ndarray, row: np.ndarray) -> float:
    share = loads / np.bincount(row, minlength=len(loads))[:, None]
    parts = [share[part].sum(axis=0) for part in row.reshape(8, 5)]
    return max(float(part.mean() + Z * part.std()) for part in parts)


@pytest.mark.parametrize("slots", [[3, 3, 2], [5, 4, 1], [8, 8, 8]])
def test_any_slots_are_filled(slots: list[int]) -> None:
    """Unequal and full slots give feasible placements."""
    counts = np.random.default_rng(1).poisson(5.0, (9, 2, 8))
    instance = Instance.from_arrays(counts, [affine(1.0, 1.0)] * 3, slots=slots)
    placement = gemopt.solve(instance, "meancov").placement
    assert placement is not None
    assert gemopt.violations(instance, placement) == []
