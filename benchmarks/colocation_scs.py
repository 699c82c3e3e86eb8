"""The co-location program of equal GPUs without replicas, solved by SCS.

A general solver as an oracle: its dual point goes through the same certificate as that
of our first-order method (`gemopt.bounds.colocation`).
"""

from __future__ import annotations

import numpy as np
import scs
from scipy.sparse import coo_array, csc_array, vstack

from gemopt.bounds.colocation.certificate import Certificate, certified
from gemopt.bounds.colocation.program import Program


def solve_scs(
    p: Program, *, seconds: float = 0.0, accuracy: float = 1e-7
) -> tuple[float, float]:
    """Solve the program until the accuracy is met or the time is over (0: no limit).

    Returns
    -------
    tuple
        The objective of the relaxation and the bound that the dual point proves, us.
    """
    if p.joint or p.replicas:
        raise ValueError("the oracle takes equal GPUs without replicas only")
    n, steps = p.size, len(p.rows)
    row, col = np.tril_indices(n)
    order = np.lexsort((row, col))  # SCS: lower triangle, column by column
    row, col = row[order], col[order]
    place = np.empty((n, n), dtype=np.int64)
    place[row, col] = place[col, row] = np.arange(len(row))
    entries = len(row)
    scale = np.where(row == col, 1.0, np.sqrt(2.0))
    # Variables: entries of M times `scale`, then the delay of each step.
    width = entries + steps

    def products(vectors: np.ndarray) -> csc_array:
        """Rows (M v)_i for every v, ``[vectors * n, width]``."""
        many = len(vectors)
        at = np.tile(place.ravel(), many)
        data = np.repeat(vectors, n, axis=0).ravel() / scale[at]
        index = np.repeat(np.arange(many * n), n)
        return csc_array(coo_array((data, (index, at)), shape=(many * n, width)))

    equal = products(p.equal_left.T)
    diagonal = np.flatnonzero(row == col)
    ones = coo_array((np.ones(n), (np.arange(n), diagonal)), shape=(n, width))
    late = products(p.rows) - csc_array(
        coo_array(
            (
                np.tile(p.unit, steps),
                (np.arange(steps * n), entries + np.repeat(np.arange(steps), n)),
            ),
            shape=(steps * n, width),
        )
    )
    apart = np.flatnonzero(row != col)
    signs = np.concatenate([apart, entries + np.arange(steps)])
    positive = coo_array(
        (-np.ones(len(signs)), (np.arange(len(signs)), signs)),
        shape=(len(signs), width),
    )
    psd = coo_array(
        (-np.ones(entries), (np.arange(entries), np.arange(entries))),
        shape=(entries, width),
    )
    data = {
        "A": csc_array(vstack([equal, ones, late, positive, psd])),
        "b": np.concatenate(
            [
                p.equal_right.T.ravel(),
                np.ones(n),
                np.repeat(p.kappa, n),
                np.zeros(len(signs) + entries),
            ]
        ),
        "c": np.concatenate([np.zeros(entries), p.weights]),
    }
    zeros = equal.shape[0] + n
    cone = {"z": zeros, "l": steps * n + len(signs), "s": [n]}
    solver = scs.SCS(
        data,
        cone,
        eps_abs=accuracy,
        eps_rel=accuracy,
        max_iters=1_000_000,
        time_limit_secs=seconds,
        verbose=False,
    )
    found = solver.solve()
    y = found["y"]
    price = np.empty((n, n))
    price[row, col] = price[col, row] = y[-entries:] / scale
    dual = Certificate(
        weights=y[zeros : zeros + steps * n].reshape(steps, n),
        equal=-y[: equal.shape[0]].reshape(-1, n).T,
        box=np.zeros(n),
        psd=price,
    )
    return p.constant + float(found["info"]["pobj"]), certified(p, dual)
