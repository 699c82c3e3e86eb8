"""What placements are compared on, and how a run reports them."""

from __future__ import annotations

import numpy as np

from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.run.layers import BestRows, layer_rng
from gemopt.run.progress import Monitor
from gemopt_solvers.search.evaluation_steps.resample import can_resample, resampled
from gemopt_solvers.search.layer import EvaluationSteps
from gemopt_solvers.search.state.additive_terms import AdditiveTerms, additive_terms


class ResampledSteps:
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
        self._terms: AdditiveTerms | None = None

    def of(self, layer: int, shared: bool) -> EvaluationSteps | None:
        """Steps for one layer; None means those of the trace.

        `shared` says that additive terms are the same for all layers and the trace.
        """
        if self.cells == 0:
            return None
        rng = layer_rng(self.seed, int(self.instance.layer_ids[layer]), 0)
        steps = resampled(self.instance, layer, self.cells, rng)
        if steps is None:
            return None
        terms = self._terms if shared else None
        if terms is None:
            terms = self._terms = additive_terms(steps, 0)
        return EvaluationSteps(steps, terms, shared)


class ResampledRows(BestRows):
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
