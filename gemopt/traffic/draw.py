"""From the shares of experts to token counts."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Shares are rounded to whole multiples of 1 / SHARE_GRID before anything is drawn:
#: the last bit of ``exp`` differs between processors, the drawn counts must not.
SHARE_GRID = 2**24


def draw_counts(
    rng: np.random.Generator, shares: Floats, tokens: int, top_k: int
) -> Ints:
    """Draw multinomial counts of one layer.

    Parameters
    ----------
    rng
        Source of randomness.
    shares
        Relative load of each expert, >= 0, float64 ``[steps, experts]``.
    tokens, top_k
        Tokens of a step, and different experts that each of them takes.

    Returns
    -------
    numpy.ndarray
        Token-expert assignments, int64 ``[steps, experts]``. Every step sums to
        ``tokens * top_k``, and no expert gets more than `tokens`: what a multinomial
        draw puts above that goes to the other experts, by their shares.
    """
    grid = np.rint(shares / shares.max(axis=1, keepdims=True) * SHARE_GRID)
    grid = np.maximum(grid, 1.0)
    counts = rng.multinomial(tokens * top_k, grid / grid.sum(axis=1, keepdims=True))
    while (over := (counts > tokens).any(axis=1)).any():
        part = counts[over]
        excess = (part - tokens).clip(min=0).sum(axis=1)
        part = np.minimum(part, tokens)
        free = np.where(part < tokens, grid[over], 0.0)
        part += rng.multinomial(excess, free / free.sum(axis=1, keepdims=True))
        counts[over] = part
    return counts
