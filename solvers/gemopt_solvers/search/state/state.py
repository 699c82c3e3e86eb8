"""What the search of one layer reads and writes, parted by what it means."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemopt.latency.tables import LatencyTables

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]

#: Steps are padded with weightless ones to a multiple of this, so that every loop over
#: steps has whole vectors and sums have one fixed order.
LANES = 16


class Seats(NamedTuple):
    """Which expert sits in which slot."""

    phy2log: Ints  # [slots]
    first: Ints  # [gpus + 1] first slot of each GPU
    held: Flags  # [experts, gpus]
    replicas: Ints  # [experts]


class Loads(NamedTuple):
    """What one copy of each expert adds to its GPU, and how that follows from tokens.

    `load` is what exchanges are ranked by: where latency is a line it is also exact.
    """

    load: Singles  # [streams, experts, steps] of one copy
    moment: Singles  # [experts, experts] mean product of the loads of two experts
    tokens: Ints  # [experts, steps] of the trace, without padding
    coef: Floats  # [rows, 4] per active expert, per tile, per token; tokens of a tile
    row: Ints  # [streams or terms, steps] row of `coef`
    terms: Floats  # [terms, experts, steps] what adds up; of curves only
    mix: Floats  # [terms] what each term counts in `load`


class Times(NamedTuple):
    """Latency of the GPUs at each step, in float32: off by less than 1e-6.

    Whoever keeps a placement evaluates it with `gemopt.evaluate`.
    """

    stream: Ints  # [gpus] which load counts on the GPU
    scale: Singles  # [gpus] us per unit of load
    base: Singles  # [gpus, steps] us
    weights: Singles  # [steps]
    latency: Singles  # [gpus, steps] us
    top: Singles  # [3, steps] largest latencies
    top_gpu: NDArray[np.int32]  # [3, steps] their GPUs
    scratch: Singles  # [6, steps]
    slope: Singles  # [experts] first-order change of each expert, of one pair of GPUs


class Curves(NamedTuple):
    """How latency follows from sums of terms where it is no line."""

    tables: LatencyTables
    row: Ints  # [gpus, steps] row of the tables
    term: Ints  # [gpus, 2] the terms of a GPU, -1 where it has one only
    sums: Floats  # [2, gpus, steps]


class State(NamedTuple):
    """One layer of a placement under search.

    Kernels take beside it `Curves`, or None where every latency is a line,
    ``base + scale * sum of load``: numba then leaves the other branch out.
    """

    seats: Seats
    loads: Loads
    times: Times
    dirty: Flags  # [gpus, gpus] pairs to look at, upper triangle
