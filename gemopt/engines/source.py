"""A routing trace that is still in an engine's files, read block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gemopt.arrays import Ints
from gemopt.model.trace import RoutingTrace

#: Numbers in one block of steps: 32 MiB of int64, whatever the size of the files.
BLOCK_NUMBERS = 2**22


@dataclass(frozen=True, eq=False)
class TraceSource:
    """What an importer returns: routing counts that are read while they are used.

    Attributes
    ----------
    blocks
        Assignments in time order, int64 ``[some steps, layers, experts]`` each; can be
        run through once.
    layer_ids
        Index of each layer in the model, int64 ``[layers]``; None means 0, 1, 2...
    drop_unused_layers
        Leave out layers that never route a token: dense layers of engines that count
        all hidden layers.
    provenance
        Where the trace comes from, for the trace file.
    notes
        Remarks for people, complete once `blocks` is used up.
    """

    blocks: Iterator[Ints]
    layer_ids: Ints | None = None
    drop_unused_layers: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def collect(self) -> RoutingTrace:
        """Read everything into memory.

        Raises
        ------
        FileError
            A file is not what it should be.
        ValueError
            There is no step.
        """
        import numpy as np

        parts = list(self.blocks)
        if not parts:
            raise ValueError("the trace has no step with a routed token")
        counts = np.concatenate(parts)
        layers = counts.shape[1]
        ids = np.arange(layers) if self.layer_ids is None else self.layer_ids
        if self.drop_unused_layers:
            kept = counts.any(axis=(0, 2))
            counts, ids = counts[:, kept], ids[kept]
        return RoutingTrace.from_arrays(
            counts, layer_ids=ids, provenance=self.provenance
        )


def block_steps(layers: int, width: int) -> int:
    """Steps of one block when a step has `layers` x `width` numbers."""
    return max(1, BLOCK_NUMBERS // max(1, layers * width))
