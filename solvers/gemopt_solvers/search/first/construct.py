"""A first placement of one layer from windows of steps, as kernels on its state."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.first.copies import copies_into, volatility_into
from gemopt_solvers.search.first.greedy import greedy_into
from gemopt_solvers.search.first.quadratic import cross_into, quadratic_descent
from gemopt_solvers.search.moves.descent import descend, mark_all
from gemopt_solvers.search.state.latency import refresh_all
from gemopt_solvers.search.state.moments import moments_into
from gemopt_solvers.search.state.state import (
    Floats,
    Ints,
    Loads,
    Seats,
    Singles,
    State,
)

#: Softening of the local model, as a part of the mean latency.
BLUR = 0.012
#: Least gain worth an exchange, as a part of the objective.
LEAST = 1e-6


@kernel
def deal_copies(
    load: Singles, weights: Singles, z: float, room: Ints, replicas: Ints, mean: Floats
) -> None:
    """Set `replicas` by volatility, and the mean loads, which are of single copies."""
    need = np.empty(load.shape[0])
    volatility_into(load, weights, z, mean, need)
    copies_into(need, room, replicas)


@kernel
def divide_loads(load: Singles, replicas: Ints, mean: Floats) -> None:
    """Divide loads of single copies by the numbers of copies."""
    for e in range(load.shape[0]):
        inverse = np.float32(1.0 / replicas[e])
        mean[e] /= replicas[e]
        for t in range(load.shape[1]):
            load[e, t] *= inverse


@kernel
def place_greedily(seats: Seats, mean: Floats, base: Floats, scale: Floats) -> None:
    """Place by finishing time."""
    greedy_into(
        mean, seats.replicas, base, scale, seats.first, seats.phy2log, seats.held
    )


@kernel
def improve_quadratic(
    seats: Seats, loads: Loads, weights: Singles, slope: Singles, mean: Floats,
    base: Floats, scale: Floats, sweeps: int,
) -> None:  # fmt: skip
    """Fill the moments, then exchange on the quadratic stand-in."""
    load, moment = loads.load[0], loads.moment
    experts, gpus = seats.held.shape
    moments_into(
        load, weights, moment, np.empty((load.shape[1], experts), dtype=np.float32)
    )
    cross = np.empty((gpus, experts), dtype=np.float32)
    cross_into(seats.phy2log, seats.first, moment, cross)
    quadratic_descent(
        seats.phy2log, seats.first, seats.held, mean, base, scale, moment, cross,
        slope, sweeps,
    )  # fmt: skip


@kernel
def improve_windows(
    state: State, base: Floats, scale: Floats, most: int, tries: int
) -> None:
    """Exchange on the windows, with a line for each GPU, at `most` pairs of GPUs."""
    if most == 0:
        return
    times, total = state.times, 0.0
    for t in range(times.weights.shape[0]):
        total += times.weights[t]
    for g in range(base.shape[0]):
        times.scale[g] = scale[g]
        for t in range(times.base.shape[1]):
            times.base[g, t] = base[g]
    mark_all(state.dirty)
    cost = refresh_all(state, None)
    descend(state, None, cost, BLUR * cost / total, LEAST * cost, tries, most)
