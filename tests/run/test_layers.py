"""Rounds over layers: order, limits, threads and interruption."""

import threading

import numpy as np
import pytest

from gemopt.cost.evaluate import evaluate
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.layers import BestRows, layer_rng, run_rounds
from gemopt.run.observer import Observer
from gemopt.run.progress import Monitor
from gemopt.run.stop import MaxIterations, MaxRuntime, StopReason, joined

INSTANCE = Instance.from_arrays(
    np.array([[[4, 3, 2, 1]] * 3]), [affine(0, 1), affine(0, 2)]
)
ROWS = [[2, 3, 0, 1], [0, 3, 1, 2], [0, 1, 2, 3]]  # each better than the one before


def improving(best):
    """Work that offers the next better row to every layer, round by round."""

    def work(layer, turn):
        yield
        row = np.array(ROWS[min(turn, 2)])
        placement = Placement(np.tile(row, (3, 1)), INSTANCE.slots)
        best.offer(layer, row, evaluate(INSTANCE, placement).per_layer[layer])
        yield

    return work


@pytest.mark.parametrize("jobs", [1, 4])
def test_rounds_report_and_end(jobs):
    """Every round is reported once, at its iteration; then the method ends."""
    best = BestRows(INSTANCE)
    monitor = Monitor(joined(None))
    reason = run_rounds(improving(best), best, monitor=monitor, jobs=jobs, rounds=3)
    assert reason == StopReason.FINISHED
    assert monitor.iteration == 3
    assert [p.iteration for p in monitor.points] == [1, 2, 3]
    assert [p.best for p in monitor.points] == [42, 30, 21]
    assert monitor.placement.phy2log.tolist() == [ROWS[2]] * 3


@pytest.mark.parametrize("jobs", [1, 4])
def test_iteration_limit(jobs):
    """A limit of iterations counts whole rounds of all layers."""
    best = BestRows(INSTANCE)
    monitor = Monitor(MaxIterations(2))
    reason = run_rounds(improving(best), best, monitor=monitor, jobs=jobs, rounds=None)
    assert reason == StopReason.ITERATIONS
    assert monitor.best == 30


@pytest.mark.parametrize("jobs", [1, 4])
def test_time_ends_a_round_half_way(jobs):
    """A time limit drops endless work at its next yield."""

    def endless(layer, turn):
        while True:
            threading.Event().wait(0.005)
            yield

    best = BestRows(INSTANCE)
    monitor = Monitor(MaxRuntime(0.05))
    reason = run_rounds(endless, best, monitor=monitor, jobs=jobs, rounds=None)
    assert reason == StopReason.TIME
    assert monitor.elapsed < 1.0


@pytest.mark.parametrize("jobs", [1, 4])
def test_errors_of_workers_surface(jobs):
    """An exception in the work of a layer reaches the caller."""

    def failing(layer, turn):
        yield
        if layer == 1:
            raise ZeroDivisionError("layer 1")

    best = BestRows(INSTANCE)
    with pytest.raises(ZeroDivisionError, match="layer 1"):
        run_rounds(failing, best, monitor=Monitor(joined(None)), jobs=jobs, rounds=1)


@pytest.mark.parametrize("jobs", [1, 4])
def test_ctrl_c_reports_what_was_found(jobs):
    """On Ctrl-C the best rows are reported before the interrupt goes on."""

    class Press(Observer):
        def on_progress(self, progress):
            if progress.iteration == 1:
                raise KeyboardInterrupt

    best = BestRows(INSTANCE)
    monitor = Monitor(joined(None), Press())
    with pytest.raises(KeyboardInterrupt):
        run_rounds(improving(best), best, monitor=monitor, jobs=jobs, rounds=9)
    assert monitor.best == best.objective.sum() <= 42
    assert monitor.placement == best.placement


def test_best_rows():
    """Only strictly better rows are kept; better layers of another are taken over."""
    best = BestRows(INSTANCE)
    assert best.offer(0, np.array(ROWS[0]), 5.0)
    assert not best.offer(0, np.array(ROWS[1]), 5.0)
    assert best.phy2log[0].tolist() == ROWS[0]
    linear = Placement(np.array([ROWS[2]] * 3), INSTANCE.slots)
    other = BestRows.of(INSTANCE, linear)
    np.testing.assert_array_equal(other.objective, [7, 7, 7])
    other.offer_all(best)
    assert other.objective.tolist() == [5, 7, 7]
    assert other.phy2log.tolist() == [ROWS[0], ROWS[2], ROWS[2]]
    monitor = Monitor(joined(None))
    best.report(monitor)  # two layers are still unknown
    assert monitor.placement is None


def test_layer_rng():
    """A layer draws by seed, id and key alone."""
    draws = {
        key: layer_rng(*key).integers(2**60)
        for key in [(0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 1, 0)]
    }
    assert len(set(draws.values())) == len(draws)
    assert layer_rng(0, 1, 0).integers(2**60) == draws[0, 1, 0]
