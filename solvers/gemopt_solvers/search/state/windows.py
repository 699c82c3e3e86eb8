"""Average consecutive steps into windows: statistics need no single steps."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.state.state import LANES

WINDOWS = 64  #: about as many windows as this


def window_width(steps: int) -> int:
    """Steps of one window; 1 below 128 steps."""
    return max(1, steps // WINDOWS)


def padded(steps: int) -> int:
    """Round a number of steps up to whole lanes (of 4 vectors where it pays)."""
    lanes = LANES if steps <= 4 * LANES else 4 * LANES
    return -(-steps // lanes) * lanes


@kernel
def window_weights_into(weights: np.ndarray, width: int, out: np.ndarray) -> None:
    """Write the summed weight of each window; padding gets none."""
    for w in range(out.shape[0]):
        out[w] = 0.0
    for t in range(weights.shape[0]):
        out[t // width] += weights[t]


@kernel
def windows_into(
    values: np.ndarray,  # [experts, steps or more]
    weights: np.ndarray,  # [steps]
    width: int,
    out: np.ndarray,  # [experts, windows], written
) -> None:
    """Write the weighted mean of each window; 0 where it has no weight."""
    experts, steps = values.shape[0], weights.shape[0]
    windows = (steps + width - 1) // width
    even = True
    for t in range(steps):
        even = even and weights[t] == weights[0]
    out[:] = 0.0
    for w in range(windows):
        start, stop = w * width, min(steps, (w + 1) * width)
        total = 0.0
        for t in range(start, stop):
            total += weights[t]
        if total <= 0.0:
            continue
        inverse = 1.0 / total
        if even:
            inverse = 1.0 / (stop - start)
            for e in range(experts):
                plain = values[e, start]
                for t in range(start + 1, stop):
                    plain += values[e, t]
                out[e, w] = plain * inverse
        else:
            for e in range(experts):
                mean = 0.0
                for t in range(start, stop):
                    mean += weights[t] * values[e, t]
                out[e, w] = mean * inverse


@kernel
def windows_of_rows_into(
    counts: np.ndarray,  # [steps, layers, experts]
    weights: np.ndarray,  # [steps]
    width: int,
    out: np.ndarray,  # [layers, experts, windows], written
) -> None:
    """Write window means of steps that are stored as engines record them."""
    steps, layers, experts = counts.shape
    total = np.empty(experts)
    for layer in range(layers):
        out[layer] = 0.0
        for w in range((steps + width - 1) // width):
            start, stop = w * width, min(steps, (w + 1) * width)
            weight = 0.0
            total[:] = 0.0
            for t in range(start, stop):
                weight += weights[t]
                for e in range(experts):
                    total[e] += weights[t] * counts[t, layer, e]
            if weight > 0.0:
                inverse = 1.0 / weight
                for e in range(experts):
                    out[layer, e, w] = total[e] * inverse
