"""`TileActive` by non-negative least squares on relative errors."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from gemopt.latency import TileActive
from gemopt.latency.base import features


def fit_tile_active(counts: ArrayLike, us: ArrayLike, tile: int) -> TileActive:
    """Fit ``base + active + tiles + tokens`` with coefficients >= 0.

    Parameters
    ----------
    counts
        Tokens of each expert, ``[points, experts]``.
    us
        Measured microseconds ``[points]``, positive.
    tile
        Rows of a tile.

    Raises
    ------
    ValueError
        No points.
    """
    y = np.asarray(us, dtype=np.float64)
    if not y.size:
        raise ValueError("no points to fit")
    design = design_matrix(counts, tile) / y[:, None]
    # Columns of like size, or tiny coefficients are lost to the solver's tolerance.
    scale = np.maximum(design.max(axis=0), 1e-300)
    solution, _ = nnls(design / scale, np.ones(len(y)))
    base, active, tiles, tokens = (float(c) for c in solution / scale)
    return TileActive(base, active, tiles, tokens, tile)


def design_matrix(counts: ArrayLike, tile: int) -> NDArray[np.float64]:
    """Columns 1, active experts, tiles, tokens: float64 ``[points, 4]``."""
    tokens, active, tiles = features(counts, tile)
    return np.stack([np.ones_like(tokens), active, tiles, tokens], axis=1)
