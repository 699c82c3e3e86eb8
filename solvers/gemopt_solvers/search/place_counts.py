"""Many layers at once from plain arrays: what serving engines call.

Latency is a line in tokens here. One kernel call does all layers without the GIL, with
scratch memory used again; nothing depends on the clock, threads or the processor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.arrays import Floats, Ints
from gemopt.jit import kernel
from gemopt_solvers.search.first.construct import (
    deal_copies,
    divide_loads,
    improve_quadratic,
    improve_windows,
    place_greedily,
)
from gemopt_solvers.search.first.copies import room_of
from gemopt_solvers.search.presets import FAST
from gemopt_solvers.search.state.build import coarse_state
from gemopt_solvers.search.state.state import Singles, State
from gemopt_solvers.search.state.windows import (
    WINDOWS,
    padded,
    window_weights_into,
    windows_into,
    windows_of_rows_into,
)
from gemopt_solvers.search.work import WINDOW_CELLS, window_pairs_tried


def place_counts(
    counts: ArrayLike,
    slots: ArrayLike,
    *,
    base_us: ArrayLike = 1.0,
    us_per_token: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
) -> Ints:
    """Place all layers by preset ``fast``.

    Parameters
    ----------
    counts
        Token-expert assignments: ``[steps, layers, experts]`` as engines record them,
        integers (int32 and int64 are read in place) or floats; or loads summed over
        time, ``[layers, experts]``.
    slots
        Slots of each GPU ``[gpus]``.
    base_us, us_per_token
        Latency of each GPU is ``base_us + us_per_token * tokens``; scalars or
        ``[gpus]``. Of equal GPUs only the ratio matters, and that little.
    weights
        Weight of each step ``[steps]``; None means 1 each.

    Returns
    -------
    numpy.ndarray
        Expert of each slot, int64 ``[layers, slots]``; no GPU holds an expert twice.

    Raises
    ------
    ValueError
        Fewer slots than experts, a GPU with more slots than experts, or counts without
        two or three dimensions.
    """
    array = np.asarray(counts)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            f"counts has shape {array.shape}, needs [steps, layers, experts] or "
            "[layers, experts], none of them 0"
        )
    if array.dtype not in (np.int32, np.int64, np.float32, np.float64):
        array = array.astype(np.int64)
    steps, layers, experts = array.shape
    per_gpu = _slots(slots, experts)
    weight = np.ones(steps) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != (steps,):
        raise ValueError(f"weights has shape {weight.shape}, needs ({steps},)")
    width = fast_width(experts, steps)
    windows = np.zeros((layers, experts, padded(-(-steps // width))), dtype=np.float32)
    for_layers = np.ascontiguousarray(array)
    windows_of_rows_into(for_layers, weight, width, windows)
    gpus = len(per_gpu)
    base = np.broadcast_to(np.asarray(base_us, np.float64), gpus).copy()
    scale = np.broadcast_to(np.asarray(us_per_token, np.float64), gpus).copy()
    return place_windowed(windows, weight, width, per_gpu, base, scale)


def fast_width(experts: int, steps: int) -> int:
    """Steps of a window in preset ``fast``: finer windows where experts are few."""
    windows = min(4 * WINDOWS, max(WINDOWS, WINDOW_CELLS // experts))
    return max(1, steps // windows)


def place_loads(
    loads: Ints, weights: Floats, slots: Ints, base: Floats, scale: Floats
) -> Ints:
    """Place layers whose loads are ``[layers, experts, steps]``, as `Instance` has."""
    layers, experts, steps = loads.shape
    width = fast_width(experts, steps)
    windows = np.zeros((layers, experts, padded(-(-steps // width))), np.float32)
    _layers_into(loads, weights, width, windows)
    return place_windowed(windows, weights, width, slots, base, scale)


def place_windowed(
    windows: Singles,
    weights: Floats,
    width: int,
    slots: Ints,
    base: Floats,
    scale: Floats,
) -> Ints:
    """Place layers from window means ``[layers, experts, windows]``."""
    layers, experts, count = windows.shape
    gpus = len(slots)
    state = coarse_state(experts, slots, count)
    window_weights_into(weights, width, state.times.weights)
    phy2log = np.empty((layers, int(slots.sum())), dtype=np.int64)
    most = window_pairs_tried(
        FAST["window_work"], gpus, phy2log.shape[1], state.times.weights.shape[0]
    )
    _place_all(
        state, windows, base, scale, room_of(slots), FAST["z"][0], FAST["sweeps"], most,
        FAST["tries"], phy2log,
    )  # fmt: skip
    return phy2log


@kernel
def _layers_into(loads: Ints, weights: Floats, width: int, out: Singles) -> None:
    for layer in range(loads.shape[0]):
        windows_into(loads[layer], weights, width, out[layer])


@kernel
def _place_all(
    state: State, windows: Singles, base: Floats, scale: Floats, room: Ints, z: float,
    sweeps: int, most: int, tries: int, phy2log: Ints,
) -> None:  # fmt: skip
    """Do the stages of preset ``fast`` on windows, layer by layer."""
    seats, loads, times = state.seats, state.loads, state.times
    load, mean = loads.load[0], np.empty(windows.shape[1])
    for layer in range(windows.shape[0]):
        for e in range(load.shape[0]):
            for w in range(load.shape[1]):
                load[e, w] = windows[layer, e, w]
        deal_copies(load, times.weights, z, room, seats.replicas, mean)
        divide_loads(load, seats.replicas, mean)
        place_greedily(seats, mean, base, scale)
        improve_quadratic(
            seats, loads, times.weights, times.slope, mean, base, scale, sweeps
        )
        improve_windows(state, base, scale, most, tries)
        for s in range(phy2log.shape[1]):
            phy2log[layer, s] = seats.phy2log[s]


def _slots(slots: ArrayLike, experts: int) -> NDArray[np.int64]:
    per_gpu = np.array(slots, dtype=np.int64)
    if per_gpu.ndim != 1 or not len(per_gpu) or per_gpu.min() < 0:
        raise ValueError(f"slots = {slots!r} must be one number >= 0 for each GPU")
    if per_gpu.sum() < experts:
        raise ValueError(f"slots sums to {per_gpu.sum()}, fewer than {experts} experts")
    if per_gpu.max() > experts:
        raise ValueError(
            f"slots = {per_gpu.tolist()}: a GPU with more slots than {experts} experts "
            "would hold an expert twice"
        )
    return per_gpu
