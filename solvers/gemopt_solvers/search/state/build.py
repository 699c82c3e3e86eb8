"""Allocate and fill the states of one layer."""

import numpy as np

from gemopt.arrays import Floats, Ints, frozen
from gemopt.latency.tables import LatencyTables
from gemopt.model.instance import Instance
from gemopt_solvers.search.state.additive_terms import Fold
from gemopt_solvers.search.state.state import State
from gemopt_solvers.search.state.windows import padded

_NONE = np.zeros((1, 1), dtype=np.int64)
# Read-only like the loads of an instance: another type would be compiled again.
_NO_TOKENS = frozen(np.zeros((1, 1), dtype=np.int64))


def coarse_state(
    experts: int, slots: Ints, windows: int, tables: LatencyTables
) -> State:
    """State on windows of steps, with a line for each GPU; empty."""
    return _state(
        experts, slots, padded(windows), tables,
        streams=1, terms=np.zeros((1, 1, 1)), sums=np.zeros((2, 1, 1)), mix=np.zeros(1),
        fold=None, tokens=_NO_TOKENS,
    )  # fmt: skip


def fine_state(
    instance: Instance, layer: int, fold: Fold, scale: Floats, mix: Floats
) -> State:
    """State on all steps with the exact latency; its placement is still empty.

    `scale` and `mix` are the surrogate's, by which curved latencies are ranked.
    """
    steps, gpus = padded(instance.num_steps), instance.num_gpus
    experts = instance.num_experts
    terms, sums = np.zeros((1, 1, 1)), np.zeros((2, 1, 1))
    if fold.curved:
        terms = np.zeros((len(fold.term_row), experts, steps))
        sums = np.zeros((2, gpus, steps))
    state = _state(
        experts, instance.slots, steps, instance.tables,
        streams=len(fold.stream_row), terms=terms, sums=sums, mix=mix, fold=fold,
        tokens=instance.loads[layer],
    )  # fmt: skip
    state.weights[: instance.num_steps] = instance.weights
    if fold.curved:
        state.scale[:] = scale
    return state


def _state(
    experts: int, slots: Ints, steps: int, tables: LatencyTables, *,
    streams: int, terms: Floats, sums: Floats, mix: Floats, fold: Fold | None,
    tokens: Ints,
) -> State:  # fmt: skip
    gpus, single = len(slots), np.float32
    return State(
        phy2log=np.zeros(int(slots.sum()), dtype=np.int64),
        first=np.concatenate([[0], np.cumsum(slots)]),
        held=np.zeros((experts, gpus), dtype=np.bool_),
        replicas=np.ones(experts, dtype=np.int64),
        load=np.zeros((streams, experts, steps), dtype=single),
        stream=np.zeros(gpus, dtype=np.int64) if fold is None else fold.stream,
        scale=(np.zeros(gpus) if fold is None else fold.scale).astype(single),
        base=(np.zeros((gpus, steps)) if fold is None else fold.base).astype(single),
        moment=np.zeros((experts, experts), dtype=single),
        weights=np.zeros(steps, dtype=single),
        latency=np.zeros((gpus, steps), dtype=single),
        top=np.zeros((3, steps), dtype=single),
        top_gpu=np.zeros((3, steps), dtype=np.int32),
        curved=fold is not None and fold.curved,
        tables=tables,
        row=_NONE.copy() if fold is None else fold.row,
        terms=terms,
        term=np.zeros((gpus, 2), dtype=np.int64) if fold is None else fold.term,
        sums=sums,
        mix=np.array(mix, dtype=np.float64),
        tokens=tokens,
        coef=np.zeros((1, 4)) if fold is None else fold.coef,
        stream_row=_NONE.copy() if fold is None else fold.stream_row,
        term_row=_NONE.copy() if fold is None else fold.term_row,
        dirty=np.zeros((gpus, gpus), dtype=np.bool_),
        scratch=np.zeros((6, steps), dtype=single),
        tilt=np.zeros(experts, dtype=single),
    )
