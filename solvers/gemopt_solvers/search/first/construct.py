"""A first placement of one layer from windows of steps."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.first.copies import copies_into, volatility_into
from gemopt_solvers.search.first.greedy import greedy_into
from gemopt_solvers.search.first.quadratic import cross_into, quadratic_descent
from gemopt_solvers.search.moves.descent import descend, mark_all
from gemopt_solvers.search.state.latency import refresh_all
from gemopt_solvers.search.state.moments import moments_into
from gemopt_solvers.search.state.state import Floats, Ints, Singles, State

#: Softening of the local model, as a part of the mean latency.
BLUR = 0.012
#: Least gain worth an exchange, as a part of the objective.
LEAST = 1e-6


@kernel
def deal_copies(state: State, z: float, room: Ints, mean: Floats, need: Floats) -> None:
    """Set `replicas` by volatility; `load` must be that of single copies."""
    volatility_into(state.load[0], state.weights, z, mean, need)
    copies_into(need, room, state.replicas)


@kernel
def divide_loads(state: State, mean: Floats) -> None:
    """Divide loads of single copies by the numbers of copies."""
    load = state.load[0]
    for e in range(load.shape[0]):
        inverse = np.float32(1.0 / state.replicas[e])
        mean[e] /= state.replicas[e]
        for t in range(load.shape[1]):
            load[e, t] *= inverse


@kernel
def place_windows(
    state: State,
    base: Floats,
    scale: Floats,
    mean: Floats,
    turned: Singles,
    cross: Singles,
    sweeps: int,
    looks: int,
    tries: int,
) -> None:
    """Place by finishing time, then improve on the quadratic and the true objective."""
    load = state.load[0]
    greedy_into(
        mean, state.replicas, base, scale, state.first, state.phy2log, state.held
    )
    moments_into(load, state.weights, state.moment, turned)
    cross_into(state.phy2log, state.first, state.moment, cross)
    quadratic_descent(
        state.phy2log, state.first, state.held, mean, base, scale,
        state.moment, cross, state.tilt, sweeps,
    )  # fmt: skip
    if looks == 0:
        return
    total = 0.0
    for t in range(state.weights.shape[0]):
        total += state.weights[t]
    for g in range(base.shape[0]):
        state.scale[g] = scale[g]
        state.base[g] = base[g]
    mark_all(state)
    cost = refresh_all(state)
    descend(state, cost, BLUR * cost / total, LEAST * cost, tries, looks)
