"""Bring the loads of experts up to date with their numbers of copies."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.state.additive_terms import expert_terms_into
from gemopt_solvers.search.state.state import Ints, Loads


@kernel
def refresh_expert(loads: Loads, expert: int, copies: int, single: np.ndarray) -> None:
    """Write the loads of one copy of `expert`; `single` is scratch ``[steps]``."""
    steps, load = loads.tokens.shape[1], loads.load
    curved = loads.terms.shape[2] > 1  # lines have no terms but their streams
    if curved:
        for t in range(steps):
            load[0, expert, t] = 0.0
    for k in range(loads.row.shape[0]):
        expert_terms_into(
            loads.tokens, expert, copies, loads.coef, loads.row[k], single
        )
        if curved:
            for t in range(steps):
                loads.terms[k, expert, t] = single[t]
                load[0, expert, t] += np.float32(loads.mix[k] * single[t])
        else:
            for t in range(steps):
                load[k, expert, t] = single[t]


@kernel
def refresh_loads(loads: Loads, replicas: Ints) -> None:
    """Write the loads of all experts."""
    single = np.empty(loads.tokens.shape[1])
    for e in range(loads.tokens.shape[0]):
        refresh_expert(loads, e, replicas[e], single)
