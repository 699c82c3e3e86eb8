"""What placements are compared on, and how a run reports them."""

from __future__ import annotations

import numpy as np

from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.run.layers import BestRows, layer_rng
from gemopt.run.progress import Monitor
from gemopt_solvers.search.evaluation_steps.resample import can_resample, resampled
from gemopt_solvers.search.layer import Judge
from gemopt_solvers.search.state.additive_terms import Fold, fold


class Judging:
    """Resampled steps of each layer, the same whenever they are asked for.

    Attributes
    ----------
    num_steps
        Steps on which placements are compared, about.
    """

    def __init__(self, instance: Instance, cells: int, seed: int) -> None:
        self.instance, self.seed = instance, seed
        self.cells = cells if can_resample(instance) else 0
        self.num_steps = max(instance.num_steps, self.cells)
        self._folded: Fold | None = None

    def of(self, layer: int, shared: bool) -> Judge | None:
        """Judge of one layer; None means the trace itself.

        `shared` says that all layers fold alike, and the trace with them.
        """
        if self.cells == 0:
            return None
        rng = layer_rng(self.seed, int(self.instance.layer_ids[layer]), 0)
        steps = resampled(self.instance, layer, self.cells, rng)
        if steps is None:
            return None
        folded = self._folded if shared else None
        if folded is None:
            folded = self._folded = fold(steps, 0)
        return Judge(steps, folded, shared)


class JudgedRows(BestRows):
    """Rows whose `objective` may be on other steps than those of the instance."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._instance = instance
        self._reported = np.inf

    def report(self, monitor: Monitor) -> None:
        """Tell `monitor` what the rows cost on the instance, once all are known."""
        total = float(self.objective.sum())
        if total < self._reported:
            self._reported = total
            placement = self.placement
            monitor.improved(evaluate(self._instance, placement).objective, placement)
