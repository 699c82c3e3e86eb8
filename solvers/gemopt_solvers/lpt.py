"""Largest first to the GPU that finishes earliest: greedy, aware of GPU speeds."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.copies import replica_counts
from gemopt.parts.greedy_fill import partial_layer, place_by_finish
from gemopt.parts.repair import repaired
from gemopt.run.bases import OnePlacement
from gemopt.run.solver import Outcome


class Lpt(OnePlacement):
    """Longest processing time first, on the latency of each GPU.

    Slots beyond one per expert go to the largest load per copy, as in EPLB, but never
    more copies than distinct GPUs can hold. Then the largest share comes first and
    goes to the GPU that would finish earliest on average over the steps, by its own
    latency model of any family, among those with a free slot and no copy of it.

    References
    ----------
    R. L. Graham, Bounds on multiprocessing timing anomalies (1969), for equal machines.
    """

    name: ClassVar[str] = "lpt"
    summary: ClassVar[str] = "greedy: largest expert to the GPU that finishes earliest"

    def place(self, instance: Instance, seed: int) -> Outcome:
        """Place every layer greedily."""
        return Outcome(lpt_placement(instance))


def lpt_placement(instance: Instance) -> Placement:
    """Place every layer of `instance`."""
    weight = instance.loads @ instance.weights
    copies = replica_counts(weight, instance.slots)
    rows = np.empty((instance.num_layers, instance.num_slots), dtype=np.int64)
    for layer, row in enumerate(rows):
        partial = partial_layer(instance, layer, copies[layer])
        order = largest_first(weight[layer], copies[layer])
        place_by_finish(instance.tables, partial, order)
        row[:] = partial.phy2log
    return Placement(repaired(rows, instance.slots, weight), instance.slots)


def largest_first(weight: NDArray[np.float64], copies: Ints) -> Ints:
    """Copies of one layer by falling share, int64 ``[slots]``; ties by expert."""
    order = np.argsort(-weight / copies, kind="stable")
    return np.repeat(order, copies[order])
