"""Steps as they might have been: the same bursts, at other times.

A few hundred steps hold only some bursts of each expert, and a search learns by heart
which of them happened to coincide. Experts that burst together are told from those that
met by chance: a *cluster* moves in time as a whole, clusters move independently. How
much of the trace is kept as it was depends on how well its two halves agree about what
the shifts would destroy (on serving traces of real requests that is much).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Floats, Ints
from gemopt.jit import kernel
from gemopt.model.instance import Instance
from gemopt_solvers.search.evaluation_steps.clusters import clusters_of, repeated
from gemopt_solvers.search.state.windows import WINDOWS, window_width

BLOCKS = 8  #: versions of the trace, some of them the trace itself
LEAST_STEPS = WINDOWS  #: on fewer steps nothing is known about what coincides
DRAWS = 2  #: shifts from which the expected covariance of shifted steps is estimated


def resampled(
    instance: Instance, layer: int, cells: int, rng: np.random.Generator
) -> Instance | None:
    """Make the one-layer instance on which placements of `layer` are compared.

    Parameters
    ----------
    instance, layer
        What was traced.
    cells
        Steps of the result, about; never fewer than the trace has.
    rng
        Source of the shifts.

    Returns
    -------
    Instance or None
        Its steps count together as much as those traced. None where what coincides in
        one half of the trace does so in the other: nothing is known better than it.
    """
    steps = instance.num_steps
    tokens = instance.loads[layer]
    total = instance.step_tokens[layer]
    share = np.empty((instance.num_experts, -(-steps // window_width(steps))))
    shares_into(tokens, total, window_width(steps), share)
    cluster, count = clusters_of(share)
    kept = kept_blocks(share, cluster, count, rng)
    if kept == BLOCKS:
        return None
    stride = max(1, steps * BLOCKS // max(cells, steps))
    shifts = rng.integers(steps, size=(BLOCKS, count))
    shifts[:kept] = 0
    starts = np.arange(BLOCKS, dtype=np.int64) % stride
    sizes = -(-(steps - starts) // stride)
    out = np.empty((instance.num_experts, int(sizes.sum())), dtype=np.int64)
    blocks_into(tokens, total, cluster, shifts, starts, stride, out)
    weight = instance.weights.sum() / out.shape[1]
    return instance.layer(layer).with_loads(out[None], np.full(out.shape[1], weight))


def can_resample(instance: Instance) -> bool:
    """Steps can be shifted: they are many, count alike, and no communication does."""
    even = bool((instance.weights == instance.weights[0]).all())
    return instance.num_steps >= LEAST_STEPS and even and instance.comm is None


def kept_blocks(
    share: Floats, cluster: Ints, count: int, rng: np.random.Generator
) -> int:
    """How many of the `BLOCKS` are to be the trace itself, by its own evidence."""
    shift = rng.integers(share.shape[1], size=(DRAWS, count))
    agreement = repeated(share, cluster, shift)
    return round(BLOCKS * min(1.0, max(0.0, 2.0 * agreement)))


@kernel
def shares_into(tokens: Ints, total: Ints, width: int, out: Floats) -> None:
    """Write each expert's share of the tokens of each window ``[experts, windows]``."""
    experts, steps = tokens.shape
    for w in range(out.shape[1]):
        start, stop = w * width, min(steps, (w + 1) * width)
        whole = 0
        for t in range(start, stop):
            whole += total[t]
        inverse = 1.0 / max(whole, 1)
        for e in range(experts):
            part = 0
            for t in range(start, stop):
                part += tokens[e, t]
            out[e, w] = part * inverse


@kernel
def blocks_into(
    tokens: Ints,  # [experts, steps]
    total: Ints,  # [steps]
    cluster: Ints,  # [experts]
    shifts: Ints,  # [blocks, clusters]
    starts: Ints,  # [blocks] first step of each block
    stride: int,
    out: NDArray[np.int64],  # [experts, cells], written
) -> None:
    """Write every `stride`-th step of each block; steps keep their total of tokens."""
    experts, steps = tokens.shape
    inverse = np.empty(steps)
    for t in range(steps):
        inverse[t] = 1.0 / max(total[t], 1)
    twice = np.empty(2 * steps)  # an expert's shares, so that shifts need no modulo
    part = np.empty(out.shape, dtype=np.float32)
    sums = np.zeros(out.shape[1])
    for e in range(experts):
        for t in range(steps):
            twice[t] = twice[steps + t] = tokens[e, t] * inverse[t]
        first = 0
        for block in range(starts.shape[0]):
            start = starts[block]
            size = (steps - start + stride - 1) // stride
            begin = start + (-shifts[block, cluster[e]]) % steps
            begin -= steps if begin >= steps else 0
            for i in range(size):
                part[e, first + i] = twice[begin + i * stride]
            first += size
        for i in range(first):
            sums[i] += part[e, i]
    first = 0
    for block in range(starts.shape[0]):
        for t in range(starts[block], steps, stride):
            sums[first] = total[t] / max(sums[first], 1e-300)
            first += 1
    for e in range(experts):
        for i in range(first):
            out[e, i] = np.int64(part[e, i] * sums[i] + 0.5)
