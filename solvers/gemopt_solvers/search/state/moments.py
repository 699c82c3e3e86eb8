"""Second moments of the loads of all experts."""

import numpy as np

from gemopt.jit import kernel


@kernel
def moments_into(
    load: np.ndarray,  # [experts, windows] float32
    weights: np.ndarray,  # [windows] float32
    moment: np.ndarray,  # [experts, experts] float32, written
    turned: np.ndarray,  # [windows, experts] float32, scratch
) -> None:
    """Write E[n_e n_f], weighted means over windows."""
    experts, windows = load.shape
    total = np.float32(0.0)
    for t in range(windows):
        total += weights[t]
    for t in range(windows):
        root = np.sqrt(weights[t] / total)
        for e in range(experts):
            turned[t, e] = load[e, t] * root
    for e in range(experts):
        for f in range(experts):
            moment[e, f] = 0.0
    whole = experts - experts % 4
    for e in range(0, whole, 4):
        for t in range(0, windows, 4):  # `windows` is a multiple of 4
            _block_into(moment, turned, e, t)
    for e in range(whole, experts):
        for t in range(windows):
            for f in range(experts):
                moment[e, f] += turned[t, e] * turned[t, f]


@kernel
def _block_into(moment: np.ndarray, turned: np.ndarray, e: int, t: int) -> None:
    """Add four windows to four rows."""
    a0, a1, a2, a3 = turned[t, e], turned[t, e + 1], turned[t, e + 2], turned[t, e + 3]
    t += 1
    b0, b1, b2, b3 = turned[t, e], turned[t, e + 1], turned[t, e + 2], turned[t, e + 3]
    t += 1
    c0, c1, c2, c3 = turned[t, e], turned[t, e + 1], turned[t, e + 2], turned[t, e + 3]
    t += 1
    d0, d1, d2, d3 = turned[t, e], turned[t, e + 1], turned[t, e + 2], turned[t, e + 3]
    for f in range(moment.shape[1]):
        a, b, c, d = turned[t - 3, f], turned[t - 2, f], turned[t - 1, f], turned[t, f]
        moment[e, f] += (a0 * a + b0 * b) + (c0 * c + d0 * d)
        moment[e + 1, f] += (a1 * a + b1 * b) + (c1 * c + d1 * d)
        moment[e + 2, f] += (a2 * a + b2 * b) + (c2 * c + d2 * d)
        moment[e + 3, f] += (a3 * a + b3 * b) + (c3 * c + d3 * d)
