"""Fold the loads of experts into a state, at their present numbers of copies."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.state.additive_terms import fold_expert_into
from gemopt_solvers.search.state.state import State


@kernel
def refold_expert(state: State, expert: int, single: np.ndarray) -> None:
    """Write the loads of one copy of `expert`; `single` is scratch ``[steps]``."""
    steps, copies = state.tokens.shape[1], state.replicas[expert]
    if not state.curved:
        for s in range(state.load.shape[0]):
            rows = state.stream_row[s]
            fold_expert_into(state.tokens, expert, copies, state.coef, rows, single)
            for t in range(steps):
                state.load[s, expert, t] = single[t]
        return
    for t in range(steps):
        state.load[0, expert, t] = 0.0
    for k in range(state.terms.shape[0]):
        rows = state.term_row[k]
        fold_expert_into(state.tokens, expert, copies, state.coef, rows, single)
        for t in range(steps):
            state.terms[k, expert, t] = single[t]
            state.load[0, expert, t] += np.float32(state.mix[k] * single[t])


@kernel
def refold_all(state: State) -> None:
    """Write the loads of all experts."""
    single = np.empty(state.tokens.shape[1])
    for e in range(state.tokens.shape[0]):
        refold_expert(state, e, single)
