"""Rows of a layer that are good for compute and communication together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt_solvers.joint.descent import joint_descent
from gemopt_solvers.joint.hierarchical import hierarchical_row


def joint_rows(
    instance: Instance, layer: int, row: Ints, rng: np.random.Generator
) -> Iterator[Ints | None]:
    """Descend from a row that is good for loads and, with hosts, from groups on them.

    Parameters
    ----------
    instance
        With communication.
    layer
        Row of the layer.
    row
        Expert in each slot, int64 ``[slots]``.
    rng
        Draws the groups of experts for the hosts, others at every call.

    Yields
    ------
    numpy.ndarray or None
        Where each descent ends, int64 ``[slots]``; None in between, at least every
        0.1 s.
    """
    starts = [row]
    if instance.comm is not None and instance.num_nodes > 1:
        starts.append(hierarchical_row(instance, instance.comm, layer, rng))
    for start in starts:
        last = start
        for found, _ in joint_descent(instance, layer, start):
            last = found
            yield None
        yield last
