"""Give a slot to another expert: one loses a copy, one gains one."""

from gemopt.jit import kernel
from gemopt_solvers.search.state.latency import refresh_gpu
from gemopt_solvers.search.state.refresh_loads import refresh_expert
from gemopt_solvers.search.state.state import Curves, Floats, State


@kernel
def give_slot(
    state: State, curves: Curves | None, slot: int, gpu: int, expert: int,
    single: Floats,
) -> None:  # fmt: skip
    """Give `slot` of `gpu` to `expert`; the loads of both experts are split anew.

    Latencies are refreshed, the maxima are not; `single` is scratch ``[steps]``.
    """
    seats, held = state.seats, state.seats.held
    old = seats.phy2log[slot]
    seats.phy2log[slot] = expert
    held[old, gpu], held[expert, gpu] = False, True
    seats.replicas[old] -= 1
    seats.replicas[expert] += 1
    refresh_expert(state.loads, old, seats.replicas[old], single)
    refresh_expert(state.loads, expert, seats.replicas[expert], single)
    for g in range(held.shape[1]):
        if g == gpu or held[old, g] or held[expert, g]:
            refresh_gpu(state, curves, g)
