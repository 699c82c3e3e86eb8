"""Layers are independent: work on them in threads, round by round, at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from threading import Event

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.progress import Monitor
from gemopt.run.stop import StopReason

#: Does one round of one layer, ``work(layer, round)``, in chunks of at most about
#: 0.1 s: it yields between them, and may be dropped at any yield.
Work = Callable[[int, int], Iterator[None]]
_POLL_SECONDS = 0.02


def layer_rng(seed: int, layer_id: int, *key: int) -> np.random.Generator:
    """Make the random generator of one layer (and round...).

    It depends on nothing but its arguments, so neither threads nor the other layers
    of the instance change what a layer draws.
    """
    return np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(layer_id, *key))
    )


class BestRows:
    """Best row of each layer so far; threads may write different layers at once.

    Parameters
    ----------
    instance
        The instance by which rows are compared.
    truth
        The instance by which they are reported, where that is another one: methods
        that see loads alone leave its communication out.

    Attributes
    ----------
    phy2log
        Expert in each slot, int64 ``[layers, slots]``.
    objective
        Cost of each row in us, float64 ``[layers]``; inf before the first offer.
    """

    def __init__(self, instance: Instance, truth: Instance | None = None) -> None:
        shape = (instance.num_layers, instance.num_slots)
        self.phy2log = np.zeros(shape, dtype=np.int64)
        self.objective = np.full(instance.num_layers, np.inf)
        self._slots = instance.slots
        self._truth = truth

    @classmethod
    def of(
        cls, instance: Instance, placement: Placement, truth: Instance | None = None
    ) -> BestRows:
        """Start from the rows of a feasible placement."""
        best = cls(instance, truth)
        best.phy2log[:] = placement.phy2log
        best.objective[:] = evaluate(instance, placement).per_layer
        return best

    def offer(self, layer: int, phy2log: Ints, objective: float) -> bool:
        """Keep a row if it is better than the one known; tell whether it was."""
        if not objective < self.objective[layer]:
            return False
        self.phy2log[layer] = phy2log
        self.objective[layer] = objective
        return True

    def offer_all(self, other: BestRows) -> None:
        """Keep the rows of `other` that are better."""
        for layer, (row, cost) in enumerate(
            zip(other.phy2log, other.objective, strict=True)
        ):
            self.offer(layer, row, float(cost))

    @property
    def placement(self) -> Placement:
        """The rows as a placement."""
        return Placement(self.phy2log, self._slots)

    def report(self, monitor: Monitor) -> None:
        """Tell `monitor` about the placement if it is complete and better."""
        total = float(self.objective.sum())
        if self._truth is not None and np.isfinite(total):
            total = evaluate(self._truth, self.placement).objective
        if total < monitor.best:
            monitor.improved(total, self.placement)


def run_rounds(
    work: Work, best: BestRows, *, monitor: Monitor, jobs: int, rounds: int | None
) -> StopReason:
    """Run rounds over all layers until `monitor` says stop or `rounds` are done.

    One iteration of the stop criterion is one round of every layer, so that a limit
    of iterations gives the same answer for every number of threads; a limit of time
    also ends a round half way.

    Parameters
    ----------
    work
        Does one round of one layer and offers what it finds to `best`.
    best
        Reported after each round and at the end, also on Ctrl-C.
    monitor
        Polled between chunks.
    jobs
        Threads.
    rounds
        Rounds after which the method has come to its own end; None for no such end.

    Returns
    -------
    StopReason
        The monitor's, or ``FINISHED``.
    """
    layers = len(best.objective)
    done = 0
    best.report(monitor)
    try:
        with ThreadPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
            while True:
                reason = monitor.stop_reason(done)
                if reason is not None:
                    return reason
                if rounds is not None and done >= rounds:
                    return StopReason.FINISHED
                if pool is None:
                    reason = _plain_round(work, layers, done, monitor)
                else:
                    reason = _threaded_round(pool, work, layers, done, monitor)
                if reason is not None:
                    return reason
                done += 1
                monitor.iteration = done
                best.report(monitor)
    finally:
        best.report(monitor)


def _plain_round(
    work: Work, layers: int, done: int, monitor: Monitor
) -> StopReason | None:
    for layer in range(layers):
        for _ in work(layer, done):
            reason = monitor.stop_reason(done)
            if reason is not None:
                return reason
    return None


def _threaded_round(
    pool: ThreadPoolExecutor, work: Work, layers: int, done: int, monitor: Monitor
) -> StopReason | None:
    halt = Event()

    def drive(layer: int) -> None:
        if halt.is_set():
            return
        for _ in work(layer, done):
            if halt.is_set():
                return

    pending = {pool.submit(drive, layer) for layer in range(layers)}
    reason = None
    try:
        while pending:
            finished, pending = wait(pending, timeout=_POLL_SECONDS)
            for future in finished:
                future.result()
            if reason is None and pending:
                reason = monitor.stop_reason(done)
            if reason is not None:
                halt.set()
    finally:
        halt.set()  # on Ctrl-C or an error the other threads end at their next yield
        wait(pending)
    return reason
