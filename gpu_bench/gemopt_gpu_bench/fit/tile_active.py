"""`TileActive` by non-negative least squares on relative errors."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from gemopt.latency import TileActive
from gemopt.latency.base import features

REWEIGHTED = 8  # rounds
NEGLIGIBLE = 0.01  # relative error below which points count alike


def fit_tile_active(counts: ArrayLike, us: ArrayLike, tile: int) -> TileActive:
    """Fit ``base + active + tiles + tokens`` with coefficients >= 0.

    Squares are reweighted until they stand for absolute relative errors, so that few
    odd points do not rule.

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

    References
    ----------
    Holland and Welsch, Robust regression using iteratively reweighted least-squares,
    1977.
    """
    y = np.asarray(us, dtype=np.float64)
    if not y.size:
        raise ValueError("no points to fit")
    design = design_matrix(counts, tile) / y[:, None]
    # Columns of like size, or tiny coefficients are lost to the solver's tolerance.
    scale = np.maximum(design.max(axis=0), 1e-300)
    design = design / scale
    weights = np.ones(len(y))
    for _ in range(REWEIGHTED):
        solution, _ = nnls(design * weights[:, None], weights)
        weights = np.maximum(np.abs(design @ solution - 1.0), NEGLIGIBLE) ** -0.5
    base, active, tiles, tokens = (float(c) for c in solution / scale)
    return TileActive(base, active, tiles, tokens, tile)


def design_matrix(counts: ArrayLike, tile: int) -> NDArray[np.float64]:
    """Columns 1, active experts, tiles, tokens: float64 ``[points, 4]``."""
    tokens, active, tiles = features(counts, tile)
    return np.stack([np.ones_like(tokens), active, tiles, tokens], axis=1)
