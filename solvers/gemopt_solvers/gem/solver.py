"""Solver `gem`: classify experts, place them apart, improve by swaps, restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import local
from typing import Any, ClassVar

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.incremental import LayerState
from gemopt.cost.move_kernels import fill_state
from gemopt.cost.sum_kernels import weighted_sum
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.copies import replica_counts
from gemopt.parts.greedy_fill import partial_layer, place_apart
from gemopt.parts.repair import repaired
from gemopt.run.bases import BaseSolver
from gemopt.run.layers import BestRows, layer_rng, run_rounds
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome
from gemopt_solvers.gem.classes import CONSISTENT, TEMPORAL, ClassRule, classify
from gemopt_solvers.gem.swaps import descend, exchange, fill_held
from gemopt_solvers.lpt import largest_first

#: Step latencies that one call of a kernel may compute, for chunks of about 0.1 s.
_CHUNK = 10_000_000
_CALL_STEPS = 100  #: overhead of trying a swap, in steps


@dataclass(frozen=True)
class GemParams(ClassRule):
    """Options of `Gem`; the thresholds are those of `ClassRule`.

    Parameters
    ----------
    restarts
        Rounds of search; the first one starts from the constructed placement.
    """

    restarts: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1:
            raise ValueError(f"restarts = {self.restarts} must be >= 1")


class Gem(BaseSolver):
    """The paper's heuristic as we understand it.

    The paper's: every layer for itself; experts that are hot at the same time, whether
    consistent or temporal, go to different GPUs and stay off slow ones; an initial
    placement is improved step by step on the trace, judged by the slowest GPU of every
    step under its measured latency.

    Ours, because the paper does not say: the thresholds of the classes; the initial
    placement takes consistent, then temporal, then other experts, the largest first,
    each to the GPU where the sum of the slowest GPU's latencies grows least; the search
    goes round the pairs of GPUs and applies the best swap of each; restarts begin in
    turn near the best row and anywhere. Replicas, unequal slots and latency that
    depends on active experts are ours too: slots beyond one per expert are filled as
    `lpt` does. An all-to-all term in the objective is not looked at.

    One iteration is one restart of every layer. ``stats`` lists the consistent and the
    temporal experts of each layer.

    References
    ----------
    GEM: GPU-variability-aware Expert Mapping (arXiv 2605.19945).
    """

    name: ClassVar[str] = "gem"
    summary: ClassVar[str] = "the GEM paper's heuristic: hot experts apart, swap search"
    Params = GemParams

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Construct, then search round by round, on the straggler alone."""
        plain = instance.without_communication()
        kind = classify(plain, self.params)
        constructed = initial_placement(plain, kind)
        search = SwapSearch(plain, seed, constructed.phy2log)
        if instance.comm is not None:
            search.best = BestRows.of(plain, constructed, truth=instance)
        if start is not None:
            search.best.offer_all(BestRows.of(plain, start))
        reason = run_rounds(
            search.work,
            search.best,
            monitor=monitor,
            jobs=jobs,
            rounds=self.params.restarts,
        )
        placement = monitor.placement or search.best.placement
        return Outcome(
            placement, reason, iterations=monitor.iteration, stats=_stats(kind)
        )


def _stats(kind: Ints) -> dict[str, Any]:
    return {
        name: [np.flatnonzero(row == value).tolist() for row in kind]
        for name, value in (("consistent", CONSISTENT), ("temporal", TEMPORAL))
    }


def initial_placement(instance: Instance, kind: Ints) -> Placement:
    """Place hot experts apart and off slow GPUs; `kind` is what `classify` says."""
    weight = instance.loads @ instance.weights
    copies = replica_counts(weight, instance.slots)
    rows = np.empty((instance.num_layers, instance.num_slots), dtype=np.int64)
    for layer, row in enumerate(rows):
        partial = partial_layer(instance, layer, copies[layer])
        order = largest_first(weight[layer], copies[layer])
        by_class = np.argsort(-kind[layer, order], kind="stable")
        place_apart(instance.tables, partial, order[by_class])
        row[:] = partial.phy2log
    return Placement(repaired(rows, instance.slots, weight), instance.slots)


class SwapSearch:
    """Swap descents of all layers; one round starts each layer once.

    Parameters
    ----------
    instance
        The instance.
    seed
        Seed of the shakes.
    constructed
        Rows of the first round, int64 ``[layers, slots]``.
    """

    def __init__(self, instance: Instance, seed: int, constructed: Ints) -> None:
        self.instance = instance
        self.seed = seed
        self.constructed = constructed
        self.best = BestRows.of(instance, Placement(constructed, instance.slots))
        gpus = instance.num_gpus
        self._first_slot = np.concatenate([[0], np.cumsum(instance.slots)])
        self._gpu_pairs = np.argwhere(np.triu(np.ones((gpus, gpus), np.bool_), 1))
        self._budget = max(1, _CHUNK // (instance.num_steps + _CALL_STEPS))
        self._layer_ids = instance.layer_ids.tolist()
        self._own = local()  # buffers of each thread

    def work(self, layer: int, turn: int) -> Iterator[None]:
        """Do one descent of one layer."""
        instance = self.instance
        tables = instance.tables
        row = self._first_row(layer, turn)
        if not hasattr(self._own, "state"):
            self._own.state = LayerState(instance, layer, row).state
        state = self._own.state._replace(loads=instance.loads[layer])
        state.phy2log[:] = row
        fill_state(tables, state, instance.step_tokens[layer])
        held = np.empty((instance.num_gpus, instance.num_experts), dtype=np.bool_)
        fill_held(state.phy2log, instance.slot2gpu, held)
        cursor = np.zeros(2, dtype=np.int64)
        ended = False
        while not ended:
            ended = descend(
                tables,
                state,
                held,
                self._first_slot,
                self._gpu_pairs,
                cursor,
                self._budget,
            )
            objective = float(weighted_sum(state.weights, state.top[0]))
            self.best.offer(layer, state.phy2log, objective)
            yield

    def _first_row(self, layer: int, turn: int) -> Ints:
        """Row that round `turn` starts from."""
        if turn == 0:
            return self.constructed[layer]
        row = self.best.phy2log[layer].copy()
        rng = layer_rng(self.seed, self._layer_ids[layer], turn)
        pairs = rng.integers(0, len(row), (shakes(len(row), turn), 2))
        held = np.empty((self.instance.num_gpus, self.instance.num_experts), np.bool_)
        fill_held(row, self.instance.slot2gpu, held)
        exchange(row, self.instance.slot2gpu, held, pairs)
        return row


def shakes(slots: int, turn: int) -> int:
    """Random swaps of a restart: few near the best row, or so many that it is lost.

    In turn, since descents from near the best find better rows and those from anywhere
    find other ones.
    """
    return max(4, slots // 4) if turn % 2 else 8 * slots
