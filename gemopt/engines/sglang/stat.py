"""SGLang dumps of the modes ``stat`` and ``stat_approx``."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.engines.arrays import field, plain, to_counts
from gemopt.engines.paths import Skipper
from gemopt.engines.physical import time_order
from gemopt.engines.source import block_steps
from gemopt.engines.torch_file import read_pt
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json


def stat_blocks(
    files: list[Path], notes: list[str], skip_damaged: bool
) -> Iterator[Ints]:
    """Yield the used rows of each dump's buffer in time order.

    `notes` gets what is a guess: a ring buffer does not say where it begins, and totals
    without steps are taken as a single step.
    """
    skipper = Skipper(skip_damaged, notes)
    shape: tuple[int, ...] | None = None

    def rows(path: Path) -> Iterator[Ints]:
        buffer = _buffer(path, notes)
        if shape is not None and buffer.shape[1:] != shape:
            raise FileError(
                path,
                f"logical_count has {buffer.shape[1:]} layers and experts, earlier "
                f"files {shape}",
            )
        yield from _used_rows(path, buffer, notes)

    for path in files:
        for block in skipper.blocks(partial(rows, path)):
            shape = block.shape[1:]
            yield block


def read_dump(path: Path) -> Any:
    """Read a ``.pt`` or ``.json`` file.

    Raises
    ------
    FileError, OSError
        It is damaged, or cannot be read.
    """
    return read_json(path) if path.suffix == ".json" else read_pt(path)


def _buffer(path: Path, notes: list[str]) -> NDArray[Any]:
    """Counts ``[steps, layers, experts]``, not checked."""
    data = read_dump(path)
    if not isinstance(data, dict) or "logical_count" not in data:
        raise FileError(
            path, "logical_count is missing; keep dumps of other modes elsewhere"
        )
    rank = data.get("rank", 0)
    if rank != 0:
        raise FileError(
            path, f"rank = {rank!r}, needs 0: its dump holds all ranks' counts"
        )
    try:
        buffer = plain(field(path, data, "logical_count"))
    except ValueError as error:
        raise FileError(path, f"logical_count: {error}") from None
    if buffer.ndim == 2:
        notes.append(f"{path.name}: totals without steps, taken as a single step")
        buffer = buffer[None]
    if buffer.ndim != 3 or 0 in buffer.shape[1:]:
        raise FileError(
            path,
            f"logical_count has shape {buffer.shape}, needs [steps, layers, experts] "
            "or [layers, experts]",
        )
    return buffer


def _used_rows(path: Path, buffer: NDArray[Any], notes: list[str]) -> Iterator[Ints]:
    size = block_steps(*buffer.shape[1:])
    starts = range(0, len(buffer), size)
    used = [buffer[i : i + size].any(axis=(1, 2)) for i in starts]
    if not used:
        return
    order, guessed = time_order(np.concatenate(used).astype(bool))
    if guessed:
        notes.append(
            f"{path.name}: the order of its steps is a guess, because unused rows lie "
            "between used ones: passes without a token, or where the ring begins"
        )
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        yield to_counts(path, "logical_count", buffer[rows])
