"""Give a slot to another expert: one loses a copy, one gains one."""

from gemopt.jit import kernel
from gemopt_solvers.search.state.latency import refresh_gpu
from gemopt_solvers.search.state.refresh_loads import refold_expert
from gemopt_solvers.search.state.state import Floats, State


@kernel
def give_slot(state: State, slot: int, gpu: int, expert: int, single: Floats) -> None:
    """Give `slot` of `gpu` to `expert`; the loads of both experts are split anew.

    Latencies are refreshed, the maxima are not; `single` is scratch ``[steps]``.
    """
    old = state.phy2log[slot]
    state.phy2log[slot] = expert
    state.held[old, gpu], state.held[expert, gpu] = False, True
    state.replicas[old] -= 1
    state.replicas[expert] += 1
    refold_expert(state, old, single)
    refold_expert(state, expert, single)
    for g in range(state.latency.shape[0]):
        if g == gpu or state.held[old, g] or state.held[expert, g]:
            refresh_gpu(state, g)
