"""Run a preset's stages on every layer, round by round."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.layers import BestRows, layer_rng
from gemopt_solvers.joint import joint_rows
from gemopt_solvers.search.bounded_moves.start_limits import MoveLimits
from gemopt_solvers.search.evaluation_steps.evaluation_steps import (
    ResampledRows,
    ResampledSteps,
)
from gemopt_solvers.search.layer import LayerSearch
from gemopt_solvers.search.place_counts import place_loads
from gemopt_solvers.search.presets import PRESETS, Preset
from gemopt_solvers.search.stages import Turn
from gemopt_solvers.search.state.additive_terms import (
    AdditiveTerms,
    additive_terms,
    line_of,
)

_JOINT = 1  # key of the random numbers of rows for compute and communication


class Pipeline:
    """What the rounds of one solve share.

    Attributes
    ----------
    best
        Best row of each layer.
    rounds
        Rounds that have something to do.
    """

    def __init__(
        self, instance: Instance, preset: Preset, seed: int, limits: MoveLimits | None
    ) -> None:
        self.instance, self.preset, self.seed = instance, preset, seed
        self.limits = limits
        self.on = ResampledSteps(
            instance, preset.resampled_steps(instance.num_experts), seed
        )
        later = preset.later_rounds(instance.num_slots, self.on.num_steps)
        if limits is None:
            self.best: BestRows = ResampledRows(instance)
            self.rounds = 1 + later
        else:
            self.best = BestRows.of(instance, limits.start)
            self.rounds = 1 if limits.binding else 1 + later
        self.terms = shared_terms(instance)
        # On lines the fast preset is one kernel call for all layers.
        fast = preset == PRESETS["fast"]
        self.at_once = placed_at_once(instance) if fast else None

    def work(self, layer: int, number: int) -> Iterator[None]:
        """Do one round of one layer; see `gemopt.run.layers.run_rounds`."""
        instance, judged = self.instance, None
        if self.at_once is not None:
            row = self.at_once[layer]
            yield
        else:
            on = self.on.of(layer, self.terms is not None)
            search = LayerSearch(instance, layer, self.terms, on)
            rng = layer_rng(self.seed, int(instance.layer_ids[layer]), number)
            stages = self.preset.first
            if number > 0:
                stages = self.preset.again
                search.best[:] = self.best.phy2log[layer]
            for stage in stages:
                yield from stage.run(search, Turn(number, rng, self.on.num_steps))
            row, judged = search.best, None if on is None else search.cost
        self.offer(layer, row, judged)
        if instance.comm is not None:
            rng = layer_rng(self.seed, int(instance.layer_ids[layer]), number, _JOINT)
            for joint in joint_rows(instance, layer, row, rng):
                if joint is not None:
                    self.offer(layer, joint, None)
                yield

    def offer(self, layer: int, row: Ints, judged: float | None) -> None:
        """Keep a row if it is better; `judged` is its cost on resampled steps."""
        if self.limits is not None:
            self._offer_near(self.limits, layer, row)
            return
        if judged is None:
            one = self.instance.layer(layer)
            judged = evaluate(one, Placement(row[None], self.instance.slots)).objective
        self.best.offer(layer, row, judged)

    def _offer_near(self, limits: MoveLimits, layer: int, row: Ints) -> None:
        """Keep what is best within the limits: the row, or the start improved."""
        best, rows = self.best, [limits.aligned(layer, row)]
        if limits.binding:
            rows.append(limits.improved_start(layer))
        before = limits.cost(layer, limits.start.phy2log[layer])
        held = limits.price(layer, best.phy2log[layer], float(best.objective[layer]))
        for trial in rows:
            cost = limits.cost(layer, trial)
            price = limits.price(layer, trial, cost)
            if price < held and cost <= before * (1.0 - limits.min_gain):
                best.phy2log[layer], best.objective[layer], held = trial, cost, price


def shared_terms(instance: Instance) -> AdditiveTerms | None:
    """Additive terms of all layers; None where steps choose among rows of a GPU.

    Only then (`Regimes`) do layers differ in them.
    """
    one_row_each = len(instance.tables.kind) == instance.num_gpus
    return additive_terms(instance, 0) if one_row_each else None


def placed_at_once(instance: Instance) -> Ints | None:
    """Rows of all layers where latency is one line in tokens for each GPU, or None."""
    tables = instance.tables
    lines = [line_of(tables, r) for r in range(len(tables.kind))]
    in_tokens = [line for line in lines if line and line[1] == line[2] == 0.0]
    if len(in_tokens) != len(lines) or len(lines) != instance.num_gpus:
        return None
    base, scale = (np.array([line[i] for line in in_tokens]) for i in (0, 3))
    return place_loads(instance.loads, instance.weights, instance.slots, base, scale)
