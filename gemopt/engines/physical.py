"""From physical slots to logical experts, and from ring buffers to time order."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.engines.arrays import to_whole
from gemopt.files.errors import FileError

UNUSED = -1  #: what engines write for a slot that holds no expert


def slot_map(path: Path, name: str, values: Any) -> tuple[Ints, int]:
    """Check a physical-to-logical map.

    Returns
    -------
    tuple
        The map, int64 ``[layers, slots]`` with -1 for unused slots, and the number of
        logical experts.

    Raises
    ------
    FileError
        Ids below -1, or an expert without a slot.
    """
    slots = to_whole(path, name, values, 2)
    if not slots.size:
        raise FileError(path, f"{name} has shape {slots.shape}, holds no slot")
    if slots.min() < UNUSED:
        layer, slot = (int(i) for i in np.argwhere(slots < UNUSED)[0])
        raise FileError(
            path, f"{name}[{layer}, {slot}] = {slots[layer, slot]} is no expert"
        )
    experts = int(slots.max()) + 1
    for layer, row in enumerate(slots):
        held = np.bincount(row[row >= 0], minlength=experts)
        if (held == 0).any():
            raise FileError(
                path,
                f"{name}: expert {int(np.argmin(held))} has no slot in row {layer}, "
                f"needs all of 0..{experts - 1}",
            )
    return slots, experts


def to_logical(counts: Ints, slots: Ints, experts: int) -> Ints:
    """Sum the counts of an expert's slots.

    Parameters
    ----------
    counts
        Tokens of each slot, int64 ``[steps, layers, slots]``.
    slots
        Expert in each slot, int64 ``[layers, slots]``; slots with -1 are left out.
    experts
        Logical experts of a layer.

    Returns
    -------
    numpy.ndarray
        int64 ``[steps, layers, experts]``.
    """
    steps, layers, _ = counts.shape
    width = experts + 1  # the last column takes the unused slots
    columns = np.where(slots < 0, experts, slots) + np.arange(layers)[:, None] * width
    cells = columns + np.arange(steps)[:, None, None] * (layers * width)
    sums = np.bincount(
        cells.ravel(), weights=counts.ravel(), minlength=steps * layers * width
    )  # float64, exact for counts below 2**53
    return sums.astype(np.int64).reshape(steps, layers, width)[:, :, :experts]


def time_order(used: NDArray[np.bool_]) -> tuple[Ints, bool]:
    """Order the rows of a ring buffer that does not say where it begins.

    It is dumped as it is stored. Unused rows in its middle are either the part that was
    not filled yet, after which it begins, or forward passes without a token: one gap is
    taken as the former, several as the latter. Both are guesses.

    Parameters
    ----------
    used
        Whether a row has any count, bool ``[rows]``.

    Returns
    -------
    tuple
        Numbers of the used rows in time order, int64, and whether that is a guess.
        Without unused rows between used ones it is not: they are as they are stored.
    """
    rows = np.flatnonzero(used)
    if not len(rows) or rows[-1] - rows[0] + 1 == len(rows):
        return rows, False
    starts = np.flatnonzero(~used & np.roll(used, 1))  # first row of each cyclic gap
    if len(starts) != 1:
        return rows, True
    return np.roll(rows, -int(np.searchsorted(rows, starts[0]))), True
