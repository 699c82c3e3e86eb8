"""Checks of the arrays that users hand in; every message names argument and value."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Largest number of token-expert assignments in one layer of one step.
MAX_STEP_TOKENS = 2**32


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Make `array` read-only and return it."""
    array.setflags(write=False)
    return array


def as_numpy(name: str, values: ArrayLike) -> NDArray[Any]:
    """Turn `values` into a numpy array; tensors of torch may be of any type.

    Raises
    ------
    ValueError
        Rows of unequal length, or something that numpy cannot read.
    """
    tensor: Any = values
    if hasattr(tensor, "detach") and hasattr(tensor, "is_floating_point"):
        tensor = tensor.detach().cpu()  # numpy has no gradients and no bfloat16
        values = tensor.double() if tensor.is_floating_point() else tensor
    try:
        return np.asarray(values)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name} has rows of unequal length") from error


def whole(name: str, values: ArrayLike, ndim: int) -> Ints:
    """Copy `values` to int64, refusing anything that is not a whole number."""
    array = as_numpy(name, values)
    if array.ndim != ndim:
        raise ValueError(f"{name} has {array.ndim} dimensions, needs {ndim}")
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has type {array.dtype}, needs whole numbers")
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array) | (array != np.floor(array))
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"{name}{list(index)} = {array[index]} is no whole number")
    if array.size and (array.max() > 2**62 or array.min() < -(2**62)):
        raise ValueError(f"{name} has a value beyond 2**62: {array.max()}")
    return np.array(array, dtype=np.int64)


def counts_array(counts: ArrayLike) -> Ints:
    """Check and copy assignments to int64 ``[steps, layers, experts]``."""
    array = whole("counts", counts, 3)
    for size, what in zip(array.shape, ("steps", "layers", "experts"), strict=True):
        if size == 0:
            raise ValueError(f"counts has shape {array.shape}: zero {what}")
    if array.min() < 0:
        index = tuple(int(i) for i in np.argwhere(array < 0)[0])
        raise ValueError(f"counts{list(index)} = {array[index]} is negative")
    totals = array.sum(axis=2, dtype=np.float64)  # cannot overflow
    if totals.max() > MAX_STEP_TOKENS:
        step, layer = (int(i) for i in np.argwhere(totals == totals.max())[0])
        raise ValueError(
            f"counts[{step}, {layer}] sums to {totals.max():.0f} assignments, "
            f"more than {MAX_STEP_TOKENS} in one step"
        )
    return array


def slots_per_gpu(slots: ArrayLike | None, gpus: int, experts: int) -> Ints:
    """Check and copy slots to int64 ``[gpus]``; None means experts / gpus each."""
    if slots is None:
        if experts % gpus:
            raise ValueError(
                f"slots: {experts} experts do not divide by {gpus} GPUs; give slots"
            )
        return np.full(gpus, experts // gpus, dtype=np.int64)
    if np.ndim(slots) == 0:
        slots = np.full(gpus, slots)
    array = whole("slots", slots, 1)
    if len(array) != gpus:
        raise ValueError(f"slots has {len(array)} values for {gpus} latency models")
    if array.min() < 0:
        raise ValueError(f"slots = {array.tolist()} has a negative value")
    if array.sum() < experts:
        raise ValueError(f"slots sums to {array.sum()}, fewer than {experts} experts")
    if array.max() > experts:
        raise ValueError(
            f"slots = {array.tolist()}: a GPU with more slots than {experts} experts "
            "would hold an expert twice"
        )
    return array


def one_each(
    name: str, values: ArrayLike | None, size: int, what: str, plain: Ints
) -> Ints:
    """Check and copy numbers >= 0, one per `what`, to int64; None means `plain`."""
    if values is None:
        return plain.astype(np.int64)
    array = whole(name, values, 1)
    if len(array) != size:
        raise ValueError(
            f"{name} has {len(array)} values, needs one per {what}: {size}"
        )
    if array.min() < 0:
        raise ValueError(f"{name} = {array.tolist()} has a negative value")
    return array


def layer_indices(values: ArrayLike | None, layers: int) -> Ints:
    """Check and copy layer ids to int64 ``[layers]``; None means 0, 1, 2..."""
    ids = one_each("layer_ids", values, layers, "layer", np.arange(layers))
    if len(set(ids.tolist())) < layers:
        raise ValueError(f"layer_ids = {ids.tolist()} must all differ")
    return ids


def step_weights(weights: ArrayLike | None, steps: int) -> Floats:
    """Check and copy weights to float64 ``[steps]``; None means 1 each."""
    if weights is None:
        return np.ones(steps)
    array = np.array(as_numpy("weights", weights), dtype=np.float64)
    if array.shape != (steps,):
        raise ValueError(f"weights has shape {array.shape}, needs ({steps},)")
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        step = int(np.argmax(bad))
        raise ValueError(f"weights[{step}] = {array[step]} must be finite and >= 0")
    if array.max() == 0:
        raise ValueError("weights are all zero")
    return array


def positions(name: str, values: ArrayLike | None, size: int) -> Ints:
    """Check positions ``[n]`` below `size`; None means all."""
    at = whole(name, np.arange(size) if values is None else values, 1)
    if (
        not len(at)
        or len(set(at.tolist())) < len(at)
        or at.min() < 0
        or at.max() >= size
    ):
        raise ValueError(f"{name} = {at.tolist()} must be some of 0..{size - 1}, once")
    return at
