"""Sums over steps in one fixed order, in loops that vectorise."""

import numpy as np
from numpy.typing import NDArray

from gemopt.jit import kernel

Singles = NDArray[np.float32]


@kernel
def sum_lanes(values: Singles, row: int, steps: int) -> float:
    """Sum ``values[row]`` in place, halving it; `steps` is a multiple of 16."""
    n = steps
    while n % 64 == 0:
        n //= 4
        for t in range(n):
            values[row, t] = (values[row, t] + values[row, t + n]) + (
                values[row, t + 2 * n] + values[row, t + 3 * n]
            )
    for start in range(16, n, 16):
        for t in range(16):
            values[row, t] += values[row, start + t]
    for t in range(4):
        values[row, t] = (values[row, t] + values[row, t + 4]) + (
            values[row, t + 8] + values[row, t + 12]
        )
    return (values[row, 0] + values[row, 2]) + (values[row, 1] + values[row, 3])
