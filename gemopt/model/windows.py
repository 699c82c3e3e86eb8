"""Larger steps out of smaller ones."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sum_windows(counts: ArrayLike, width: int) -> NDArray[np.int64]:
    """Sum every `width` following steps into one step of a larger batch.

    Parameters
    ----------
    counts
        Token-expert assignments, whole numbers ``[steps, layers, experts]``.
    width
        Steps that make one, >= 1. Steps left over at the end are dropped.

    Returns
    -------
    numpy.ndarray
        int64 ``[steps // width, layers, experts]``.

    Raises
    ------
    ValueError
        `width` is below 1 or above the number of steps.
    """
    array = np.asarray(counts)
    if not 1 <= width <= len(array):
        raise ValueError(f"width = {width} must be in 1..{len(array)}, the steps")
    whole = len(array) // width
    shape = (whole, width, *array.shape[1:])
    return array[: whole * width].reshape(shape).sum(axis=1, dtype=np.int64)
