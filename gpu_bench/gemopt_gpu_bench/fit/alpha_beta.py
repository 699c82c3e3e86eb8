"""A link's start-up latency and bandwidth from times of all-to-alls. No torch."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from gemopt.model.topology import BYTES_PER_US_OF_GB_PER_S, Link


def fit_link(volumes: ArrayLike, us: ArrayLike) -> Link:
    """Fit ``alpha_us + bytes / bandwidth`` by least relative squares, both >= 0.

    Parameters
    ----------
    volumes
        Most bytes that a GPU sends or receives, ``[points]``.
    us
        Measured microseconds, positive, ``[points]``.

    Raises
    ------
    ValueError
        Fewer than two points, or times that do not grow with the bytes.

    References
    ----------
    Hockney, The communication challenge for MPP: Intel Paragon and Meiko CS-2, 1994.
    """
    x = np.asarray(volumes, dtype=np.float64)
    y = np.asarray(us, dtype=np.float64)
    if len(x) < 2:
        raise ValueError(f"{len(x)} points; a line needs two")
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    # Columns of like size, or the small one is lost to the solver's tolerance.
    scale = np.maximum(design.max(axis=0), 1e-300)
    solution, _ = nnls(design / scale, np.ones(len(y)))
    alpha, beta = (float(c) for c in solution / scale)
    if beta <= 0:
        raise ValueError(
            f"times do not grow from {x.min():.0f} to {x.max():.0f} bytes; measure "
            "larger ones (--largest)"
        )
    return Link(alpha, 1.0 / (beta * BYTES_PER_US_OF_GB_PER_S))


def link_us(link: Link, volumes: ArrayLike) -> np.ndarray:
    """Time of all-to-alls whose largest volumes are `volumes` bytes, us."""
    return link.alpha_us + link.us_per_byte * np.asarray(volumes, dtype=np.float64)
