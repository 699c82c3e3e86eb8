"""A routing trace that is still in an engine's files, read block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import MAX_STEP_TOKENS, Ints, layer_indices
from gemopt.files.errors import FileError
from gemopt.model.trace import RoutingTrace

#: Numbers in one block of steps: 32 MiB of int64, whatever the size of the files.
BLOCK_NUMBERS = 2**22


@dataclass(frozen=True, eq=False)
class TraceSource:
    """What an importer returns: routing counts that are read while they are used.

    Attributes
    ----------
    path
        File or folder that is read, for errors.
    blocks
        Assignments in time order, int64 ``[some steps, layers, experts]`` each; can be
        run through once.
    layer_ids
        Index of each layer in the model, int64 ``[layers]``; None means 0, 1, 2...
    provenance
        Where the trace comes from, for the trace file.
    notes
        Remarks for people, complete once everything is read.
    """

    path: Path
    blocks: Iterator[Ints]
    layer_ids: Ints | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def checked(self) -> Iterator[Ints]:
        """Yield the blocks that have steps, within the limits of a trace.

        Raises
        ------
        FileError
            A file is not what it should be, or a step sums to too many assignments.
        """
        try:
            for block in self.blocks:
                if not len(block):
                    continue
                totals = block.sum(axis=2)
                if totals.max() >= MAX_STEP_TOKENS:
                    raise ValueError(
                        f"a step sums to {totals.max()} assignments over all ranks, "
                        f"needs fewer than {MAX_STEP_TOKENS}"
                    )
                yield block
        except FileError:
            raise
        except ValueError as error:
            raise FileError(self.path, str(error)) from None

    def routed(self, used: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Rows of the layers that route tokens, and their index in the model.

        Engines that count all hidden layers give dense ones zeros; a note names them.

        Parameters
        ----------
        used
            Whether a layer routes any token, bool ``[layers]``.

        Raises
        ------
        FileError
            No layer does, or `layer_ids` does not fit.
        """
        if not used.any():
            left_out = "; ".join(self.notes)
            why = f" ({left_out})" if left_out else ""
            raise FileError(self.path, f"has no step with a routed token{why}")
        try:
            ids = layer_indices(self.layer_ids, len(used))
        except ValueError as error:
            raise FileError(self.path, str(error)) from None
        if not used.all():
            names = ", ".join(map(str, ids[~used].tolist()))
            self.notes.append(f"layers that never route a token, left out: {names}")
        kept = np.flatnonzero(used)
        return kept, ids[kept]

    def collect(self) -> RoutingTrace:
        """Read everything into memory.

        Raises
        ------
        FileError
            A file is not what it should be, or there is no step.
        """
        parts = list(self.checked())
        counts = np.concatenate(parts) if parts else np.zeros((0, 0, 0), np.int64)
        kept, ids = self.routed(np.asarray(counts.any(axis=(0, 2))))
        return RoutingTrace.from_arrays(
            counts[:, kept], layer_ids=ids, provenance=self.provenance
        )


def block_steps(layers: int, width: int) -> int:
    """Steps of one block when a step has `layers` x `width` numbers."""
    return max(1, BLOCK_NUMBERS // max(1, layers * width))
