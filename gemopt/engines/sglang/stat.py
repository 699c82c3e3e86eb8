"""SGLang dumps of the modes ``stat`` and ``stat_approx``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.engines.arrays import field, load_pt, plain, to_counts
from gemopt.engines.physical import time_order
from gemopt.engines.source import block_steps
from gemopt.files.errors import FileError


def stat_blocks(files: list[Path]) -> Iterator[Ints]:
    """Yield the used rows of each dump's buffer in time order."""
    shape: tuple[int, ...] | None = None
    for path in files:
        buffer = _buffer(path)
        if shape is None:
            shape = buffer.shape[1:]
        elif buffer.shape[1:] != shape:
            raise FileError(
                path,
                f"logical_count has {buffer.shape[1:]} layers and experts, "
                f"{files[0].name} has {shape}",
            )
        yield from _used_rows(path, buffer)


def _buffer(path: Path) -> NDArray[Any]:
    data = load_pt(path)
    if not isinstance(data, dict) or "logical_count" not in data:
        raise FileError(
            path, "logical_count is missing; keep dumps of other modes elsewhere"
        )
    rank = data.get("rank", 0)
    if rank != 0:
        raise FileError(
            path, f"rank = {rank!r}, needs 0: its dump holds all ranks' counts"
        )
    buffer = plain(field(path, data, "logical_count"))
    if buffer.ndim != 3 or 0 in buffer.shape[1:]:
        raise FileError(
            path,
            f"logical_count has shape {buffer.shape}, needs [steps, layers, experts]",
        )
    return buffer


def _used_rows(path: Path, buffer: NDArray[Any]) -> Iterator[Ints]:
    size = block_steps(*buffer.shape[1:])
    starts = range(0, len(buffer), size)
    used = [buffer[i : i + size].any(axis=(1, 2)) for i in starts]
    order = time_order(np.concatenate(used)) if used else np.empty(0, np.int64)
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        yield to_counts(path, "logical_count", buffer[rows])
