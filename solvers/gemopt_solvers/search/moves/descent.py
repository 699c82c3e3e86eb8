"""Descent by exchanges: look at pairs of GPUs until none gains."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.moves.exchange import improve_pair
from gemopt_solvers.search.state.state import Curves, Flags, State


@kernel
def mark_all(dirty: Flags) -> None:
    """Note that every pair is worth a look."""
    gpus = dirty.shape[0]
    for a in range(gpus):
        for b in range(gpus):
            dirty[a, b] = a < b


@kernel
def _mark(dirty: Flags, gpu: int) -> None:
    """Note that every pair with `gpu` is worth another look."""
    for other in range(gpu):
        dirty[other, gpu] = True
    for other in range(gpu + 1, dirty.shape[0]):
        dirty[gpu, other] = True


@kernel
def descend(
    state: State, curves: Curves | None, start: float, blur: float, least: float,
    tries: int, most: int,
) -> tuple[float, int]:  # fmt: skip
    """Improve dirty pairs in sweeps, each by the best of its exchanges.

    Parameters
    ----------
    state, curves
        The layer; pairs that are not `dirty` are left alone.
    start
        Objective now, us.
    blur
        Softening of the local model, us.
    least
        Least gain worth an exchange, us.
    tries
        Exchanges evaluated for each pair.
    most
        Most pairs to try.

    Returns
    -------
    tuple
        Objective afterwards in us, and the number of pairs tried.
    """
    dirty, gpus = state.dirty, state.dirty.shape[0]
    order = np.empty((tries, 2), dtype=np.int64)
    keys = np.empty(tries, dtype=np.float64)
    cost, tried = start, 0
    busy = True
    while busy and tried < most:
        busy = False
        for a in range(gpus):
            for b in range(a + 1, gpus):
                if not dirty[a, b]:
                    continue
                if tried >= most:
                    return cost, tried
                dirty[a, b] = False
                tried += 1
                now = improve_pair(state, curves, a, b, blur, cost, least, order, keys)
                if now < cost:
                    cost = now
                    busy = True
                    _mark(dirty, a)
                    _mark(dirty, b)
    return cost, tried
