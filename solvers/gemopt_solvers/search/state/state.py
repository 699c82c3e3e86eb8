"""Everything that the search of one layer reads and writes, as flat arrays."""

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


class State(NamedTuple):
    """One layer of a placement under search.

    Latency in float32 is off by less than 1e-6; whoever keeps a placement evaluates it
    with `gemopt.evaluate`. `load` is what swaps are ranked by: where latency is a line
    (`curved` is False) it is also exact, ``latency = base + scale * sum of load``.
    """

    # the placement
    phy2log: Ints  # [slots]
    first: Ints  # [gpus + 1] first slot of each GPU
    held: Flags  # [experts, gpus]
    replicas: Ints  # [experts]
    # loads and latency
    load: Singles  # [streams, experts, steps] of one copy
    stream: Ints  # [gpus] which load counts on the GPU
    scale: Singles  # [gpus] us per unit of load
    base: Singles  # [gpus, steps] us
    moment: Singles  # [experts, experts] mean product of the loads of two experts
    weights: Singles  # [steps]
    latency: Singles  # [gpus, steps] us
    top: Singles  # [3, steps] largest latencies
    top_gpu: NDArray[np.int32]  # [3, steps] their GPUs
    # latencies that are no line
    curved: bool
    tables: LatencyTables
    row: Ints  # [gpus, steps] row of the tables
    terms: Floats  # [terms, experts, steps] what adds up over experts, of one copy
    term: Ints  # [gpus, 2] the terms of a GPU, -1 where it has one only
    sums: Floats  # [2, gpus, steps]
    mix: Floats  # [terms] what each term counts in `load`
    # how loads follow from tokens and copies
    tokens: Ints  # [experts, steps] of the trace, without padding
    coef: Floats  # [rows, 4] per active expert, per tile, per token; tokens of a tile
    stream_row: Ints  # [streams, steps] row of `coef`
    term_row: Ints  # [terms, steps]
    # bookkeeping
    dirty: Flags  # [gpus, gpus] pairs to look at, upper triangle
    scratch: Singles  # [6, steps]
    tilt: Singles  # [experts] first-order gain of each expert, of one pair of GPUs
