"""`Roofline` by bounded robust least squares on log ratios."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from gemopt.latency import Line, Roofline
from gemopt_gpu_bench.fit.tile_active import design_matrix, fit_tile_active

POWER = (1.5, 32.0)  # of the smooth maximum: unbounded fits run away


def fit_roofline(counts: ArrayLike, us: ArrayLike, tile: int) -> Roofline:
    """Fit a memory line (base, active) and a compute line (base, tiles, tokens).

    Parameters
    ----------
    counts
        Tokens of each expert, ``[points, experts]``.
    us
        Measured microseconds ``[points]``, positive.
    tile
        Rows of a tile.
    """
    y = np.asarray(us, dtype=np.float64)
    columns = design_matrix(counts, tile)
    line = fit_tile_active(counts, y, tile)
    base, active, tiles, tokens = line.line.coefficients()
    # Coefficients are fitted in units of what they contribute to a typical point.
    typical = np.median(y) / np.maximum(np.median(columns, axis=0), 1.0)
    unit = typical[[0, 1, 0, 2, 3]]
    guess = np.array([base, active, base, tiles, tokens]) / unit
    start = np.clip(np.append(guess + 0.05, 6.0), 1e-6, 9.0)

    def residuals(free: NDArray[np.float64]) -> NDArray[np.float64]:
        memory = columns[:, :2] @ (free[:2] * unit[:2])
        compute = columns[:, [0, 2, 3]] @ (free[2:5] * unit[2:])
        return np.log(_smooth(memory, compute, free[5]) / y)

    lower = [0.0] * 5 + [POWER[0]]
    upper = [10.0] * 5 + [POWER[1]]
    found = least_squares(
        residuals, start, bounds=(lower, upper), loss="soft_l1", f_scale=0.01
    )
    a0, a1, b0, b2, b3 = (float(v) for v in found.x[:5] * unit)
    return Roofline(
        Line(a0, a1, 0.0, 0.0), Line(b0, 0.0, b2, b3), tile, float(found.x[5])
    )


def _smooth(
    memory: NDArray[np.float64], compute: NDArray[np.float64], power: float
) -> NDArray[np.float64]:
    high = np.maximum(np.maximum(memory, compute), 1e-9)
    low = np.minimum(memory, compute)
    return np.asarray(high * (1.0 + (low / high) ** power) ** (1.0 / power))
