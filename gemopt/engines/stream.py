"""Writing a trace file block by block, in memory that does not depend on its size."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.engines.source import TraceSource, block_steps
from gemopt.files.atomic import replacing
from gemopt.files.tensors import header_text
from gemopt.files.trace_file import FORMAT, VERSION

_SPOOL = np.dtype(np.uint32)


@dataclass(frozen=True)
class ImportedTrace:
    """What was written: its size, and remarks for people."""

    steps: int
    layer_ids: tuple[int, ...]
    experts: int
    notes: tuple[str, ...]


def write_trace(source: TraceSource, path: str | Path) -> ImportedTrace:
    """Write a trace file with the bytes that `gemopt.save_trace` would give it.

    The steps go to an unnamed temporary file beside `path` first, because the number of
    steps, the layers in use and the largest count are known only at the end.

    Parameters
    ----------
    source
        The trace; its blocks are used up.
    path
        Target, by custom ``NAME.trace.safetensors``.

    Raises
    ------
    FileError
        A file of the source is not what it should be, there is no step, or layer ids
        do not fit.
    OSError
        The file cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(2, "cannot write: no such folder", str(target))
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        steps, used, largest, experts = _spool(source.checked(), spool)
        kept, ids = source.routed(used)
        counts = np.dtype(np.min_scalar_type(largest)).newbyteorder("<")
        shape = (steps, len(kept), experts)
        name = target.name.removesuffix(".safetensors").removesuffix(".trace")
        with replacing(target) as temporary, temporary.open("xb") as file:
            file.write(_header(shape, counts, name, source.provenance))
            file.write(ids.astype("<i8").tobytes())
            for block in _unspool(spool, steps, len(used), experts):
                file.write(block[:, kept].astype(counts).tobytes())
    return ImportedTrace(steps, tuple(ids.tolist()), experts, tuple(source.notes))


def _spool(
    blocks: Iterator[Ints], spool: BinaryIO
) -> tuple[int, NDArray[np.bool_], int, int]:
    """Write all blocks; return steps, layers in use, largest count and experts."""
    steps, largest, experts = 0, 0, 0
    used: NDArray[np.bool_] = np.zeros(0, np.bool_)
    for block in blocks:
        busy = np.asarray(block.any(axis=(0, 2)))
        used = np.logical_or(used, busy) if len(used) else busy
        experts = block.shape[2]
        steps += len(block)
        largest = max(largest, int(block.max()))
        spool.write(block.astype(_SPOOL).tobytes())
    return steps, used, largest, experts


def _unspool(
    spool: BinaryIO, steps: int, layers: int, experts: int
) -> Iterator[NDArray[np.uint32]]:
    spool.seek(0)
    rows = block_steps(layers, experts)
    for first in range(0, steps, rows):
        number = min(rows, steps - first)
        data = spool.read(number * layers * experts * _SPOOL.itemsize)
        yield np.frombuffer(data, _SPOOL).reshape(number, layers, experts)


def _header(
    shape: tuple[int, int, int],
    counts: np.dtype[Any],
    name: str,
    provenance: dict[str, Any],
) -> bytes:
    """Length and JSON header of a safetensors file: ids first, they are wider."""
    ids_end = 8 * shape[1]
    counts_end = ids_end + counts.itemsize * shape[0] * shape[1] * shape[2]
    ids_entry = {"dtype": "I64", "shape": [shape[1]], "data_offsets": [0, ids_end]}
    counts_entry = {
        "dtype": f"U{8 * counts.itemsize}",
        "shape": list(shape),
        "data_offsets": [ids_end, counts_end],
    }
    document = {
        "__metadata__": header_text(
            FORMAT, VERSION, {"name": name, "provenance": provenance}
        ),
        "layer_ids": ids_entry,
        "counts": counts_entry,
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text
