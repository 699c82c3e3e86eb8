"""Descent by exchanges: look at pairs of GPUs until none gains."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.moves.exchange import improve_pair
from gemopt_solvers.search.state.state import State


@kernel
def mark_dirty(state: State, gpu: int) -> None:
    """Note that every pair with `gpu` is worth another look."""
    for other in range(state.dirty.shape[0]):
        state.dirty[min(gpu, other), max(gpu, other)] = gpu != other


@kernel
def mark_all(state: State) -> None:
    """Note that every pair is worth a look."""
    gpus = state.dirty.shape[0]
    for a in range(gpus):
        for b in range(gpus):
            state.dirty[a, b] = a < b


@kernel
def descend(
    state: State, start: float, blur: float, least: float, tries: int, looks: int
) -> tuple[float, int]:
    """Improve dirty pairs in sweeps, each by the best of its exchanges.

    Parameters
    ----------
    state
        The layer; pairs that are not `dirty` are left alone.
    start
        Objective now, us.
    blur
        Softening of the local model, us.
    least
        Least gain worth an exchange, us.
    tries
        Exchanges evaluated for each pair.
    looks
        Most pairs to look at.

    Returns
    -------
    tuple
        Objective afterwards in us, and the number of pairs looked at.
    """
    gpus = state.dirty.shape[0]
    order = np.empty((tries, 2), dtype=np.int64)
    keys = np.empty(tries, dtype=np.float64)
    cost, looked = start, 0
    busy = True
    while busy and looked < looks:
        busy = False
        for a in range(gpus):
            for b in range(a + 1, gpus):
                if not state.dirty[a, b]:
                    continue
                if looked >= looks:
                    return cost, looked
                state.dirty[a, b] = False
                looked += 1
                now = improve_pair(state, a, b, blur, cost, least, order, keys)
                if now < cost:
                    cost = now
                    busy = True
                    mark_dirty(state, a)
                    mark_dirty(state, b)
    return cost, looked
