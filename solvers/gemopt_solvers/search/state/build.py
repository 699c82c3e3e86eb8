"""Allocate and fill the states of one layer."""

import numpy as np

from gemopt.arrays import Floats, Ints, frozen
from gemopt.model.instance import Instance
from gemopt_solvers.search.state.additive_terms import AdditiveTerms
from gemopt_solvers.search.state.state import Curves, Loads, Seats, State, Times
from gemopt_solvers.search.state.windows import padded

# Read-only like the loads of an instance: another type would be compiled again.
_NO_TOKENS = frozen(np.zeros((1, 1), dtype=np.int64))
_NO_TERMS = np.zeros((1, 1, 1))


def coarse_state(experts: int, slots: Ints, windows: int) -> State:
    """State on windows of steps, with a line for each GPU; empty."""
    gpus, steps = len(slots), padded(windows)
    return _state(
        experts, slots, steps, streams=1, stream=np.zeros(gpus, dtype=np.int64),
        scale=np.zeros(gpus), base=np.zeros((gpus, steps)),
        tokens=_NO_TOKENS, coef=np.zeros((1, 4)),
        row=np.zeros((1, 1), dtype=np.int64), terms=_NO_TERMS, mix=np.zeros(1),
    )  # fmt: skip


def fine_state(
    instance: Instance, layer: int, additive: AdditiveTerms, scale: Floats, mix: Floats
) -> tuple[State, Curves | None]:
    """State on all steps with the exact latency; its placement is still empty.

    `scale` and `mix` are the surrogate's, by which curved latencies are ranked.
    """
    steps, gpus = padded(instance.num_steps), instance.num_gpus
    terms, curves = _NO_TERMS, None
    if additive.curved:
        terms = np.zeros((len(additive.term_row), instance.num_experts, steps))
        curves = Curves(
            instance.tables, additive.row, additive.term, np.zeros((2, gpus, steps))
        )
    state = _state(
        instance.num_experts, instance.slots, steps,
        streams=len(additive.stream_row), stream=additive.stream,
        scale=scale if additive.curved else additive.scale, base=additive.base,
        tokens=instance.loads[layer], coef=additive.coef,
        row=additive.term_row if additive.curved else additive.stream_row,
        terms=terms, mix=mix,
    )  # fmt: skip
    state.times.weights[: instance.num_steps] = instance.weights
    return state, curves


def _state(
    experts: int, slots: Ints, steps: int, *, streams: int, stream: Ints, scale: Floats,
    base: Floats, tokens: Ints, coef: Floats, row: Ints, terms: Floats, mix: Floats,
) -> State:  # fmt: skip
    gpus, single = len(slots), np.float32
    return State(
        seats=Seats(
            phy2log=np.zeros(int(slots.sum()), dtype=np.int64),
            first=np.concatenate([[0], np.cumsum(slots)]),
            held=np.zeros((experts, gpus), dtype=np.bool_),
            replicas=np.ones(experts, dtype=np.int64),
        ),
        loads=Loads(
            load=np.zeros((streams, experts, steps), dtype=single),
            moment=np.zeros((experts, experts), dtype=single),
            tokens=tokens,
            coef=coef,
            row=row,
            terms=terms,
            mix=np.array(mix, dtype=np.float64),
        ),
        times=Times(
            stream=stream,
            scale=scale.astype(single),
            base=base.astype(single),
            weights=np.zeros(steps, dtype=single),
            latency=np.zeros((gpus, steps), dtype=single),
            top=np.zeros((3, steps), dtype=single),
            top_gpu=np.zeros((3, steps), dtype=np.int32),
            scratch=np.zeros((6, steps), dtype=single),
            slope=np.zeros(experts, dtype=single),
        ),
        dirty=np.zeros((gpus, gpus), dtype=np.bool_),
    )
