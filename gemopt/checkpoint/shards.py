"""Safetensors files as byte ranges: renamed and reordered without decoding them.

A tensor's first axis is the slowest, so the data of entry e are one run of bytes
whatever the dtype; fp8, packed 4-bit and scale tensors need no special care.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from gemopt.checkpoint.plan import Move
from gemopt.files.errors import FileError

_CHUNK = 2**24
_MAX_HEADER = 10**8  #: as in the safetensors library


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `start` and `stop` are offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Shard:
    """Header of one safetensors file."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    header: bytes


def read_shard(path: Path) -> Shard:
    """Read and check the header of a safetensors file.

    Raises
    ------
    gemopt.files.errors.FileError
        The file is missing, cut short, or no safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
                raise FileError(path, "is no safetensors file, or cut short")
            header = file.read(length)
    except FileNotFoundError:
        raise FileError(path, "shard is missing") from None
    try:
        document = json.loads(header)
        metadata = document.pop("__metadata__", {})
        tensors = {name: _tensor(entry, 8 + length) for name, entry in document.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise FileError(path, "has no readable safetensors header") from None
    end = 8 + length
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
        if tensor.start != end:
            raise FileError(path, f"{name} starts at {tensor.start}, expected {end}")
        end = tensor.stop
    if end != size:
        raise FileError(path, f"has {size} bytes, its header says {end}: cut short?")
    return Shard(path, tensors, metadata, header)


def _tensor(entry: Mapping[str, Any], origin: int) -> Tensor:
    start, stop = entry["data_offsets"]
    shape = tuple(int(n) for n in entry["shape"])
    size = prod(shape)
    if not 0 <= start <= stop or (size == 0) != (start == stop):
        raise ValueError("offsets do not fit the shape")
    # One entry of the first axis must be whole bytes, also for packed 4-bit types.
    if shape and shape[0] and (stop - start) % shape[0]:
        raise ValueError("entries of the first axis are not whole bytes")
    return Tensor(str(entry["dtype"]), shape, origin + start, origin + stop)


def write_shard(
    shard: Shard, moves: Mapping[str, Move], output: Path
) -> dict[str, list[str]]:
    """Copy a shard with tensors renamed and reordered.

    Returns
    -------
    dict
        What `digests` says of the source, read in the same pass.

    Raises
    ------
    OSError
        Reading or writing failed; names the file. No half-written file stays.
    """
    temporary = output.with_name(f".{output.name}.part")
    result: dict[str, list[str]] = {}
    try:
        with shard.path.open("rb") as source, temporary.open("wb") as target:
            target.write(_header(shard, moves))
            for name, tensor in _by_position(shard):
                order = moves[name].order
                blocks = _blocks(tensor, None if order is None else len(order))
                sums = [""] * len(blocks)
                for old in range(len(blocks)) if order is None else order.tolist():
                    sums[old] = _copy(source, *blocks[old], target)
                result[name] = sums
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return result


def digests(shard: Shard, blocks: Mapping[str, int]) -> dict[str, list[str]]:
    """Checksum every tensor of a shard.

    Parameters
    ----------
    shard
        The file.
    blocks
        Tensors to checksum in parts: name and number of entries of the first axis.

    Returns
    -------
    dict
        BLAKE2 checksums (128 bits, hexadecimal) by tensor: one, or one per entry.
    """
    with shard.path.open("rb") as file:
        return {
            name: [_copy(file, *block) for block in _blocks(tensor, blocks.get(name))]
            for name, tensor in _by_position(shard)
        }


def _by_position(shard: Shard) -> Iterator[tuple[str, Tensor]]:
    yield from sorted(shard.tensors.items(), key=lambda item: item[1].start)


def _header(shard: Shard, moves: Mapping[str, Move]) -> bytes:
    origin = 8 + len(shard.header)
    document: dict[str, Any] = {}
    if shard.metadata:
        document["__metadata__"] = dict(shard.metadata)
    for name, tensor in _by_position(shard):
        document[moves[name].name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.start - origin, tensor.stop - origin],
        }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # data start aligned, as the library writes them
    return len(text).to_bytes(8, "little") + text


def _blocks(tensor: Tensor, count: int | None) -> list[tuple[int, int]]:
    """Start and length of each entry of the first axis, or of the whole tensor."""
    size = tensor.stop - tensor.start
    if count is None:
        return [(tensor.start, size)]
    step = size // count
    return [(tensor.start + i * step, step) for i in range(count)]


def _copy(
    source: BinaryIO, start: int, length: int, target: BinaryIO | None = None
) -> str:
    """Checksum a range of bytes, writing it to `target` on the way."""
    digest = hashlib.blake2b(digest_size=16)
    source.seek(start)
    while length > 0:
        data = source.read(min(length, _CHUNK))
        if not data:
            raise FileError(source.name, "ends too early; was it changed meanwhile?")
        digest.update(data)
        if target is not None:
            target.write(data)
        length -= len(data)
    return digest.hexdigest()
