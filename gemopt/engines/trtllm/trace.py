"""Expert statistics of TensorRT-LLM (``EXPERT_STATISTIC_PATH``)."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gemopt.arrays import Ints
from gemopt.engines.arrays import open_arrays, to_counts
from gemopt.engines.source import TraceSource, block_steps
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json

_RANK = re.compile(r"rank(\d+)\.safetensors")  # not rank0_raw.safetensors
_KEY = re.compile(r"(\d+)_(\d+)")


def open_trace(path: Path) -> TraceSource:
    """Open a statistics folder: ``meta_info.json`` and ``rank*.safetensors``.

    A step is one iteration, summed over the ranks; layer ids are those of the model.
    Files ``rank*_raw.safetensors`` are skipped.

    Raises
    ------
    FileError
        A missing rank, iteration or layer; or a file that is not what it should be.
    """
    meta = path / "meta_info.json"
    if not path.is_dir():
        raise FileError(path, "is no folder of expert statistics")
    info = read_json(meta)
    experts = info.get("num_experts") if isinstance(info, dict) else None
    if isinstance(experts, bool) or not isinstance(experts, int) or experts < 1:
        raise FileError(meta, f"num_experts = {experts!r}, needs a number >= 1")
    files = _ranks(path)
    iterations, layers = _grid(files)
    return TraceSource(
        _blocks(files, iterations, layers, experts),
        layer_ids=np.array(layers, dtype=np.int64),
        provenance={
            "engine": "trtllm",
            "ranks": len(files),
            "iterations": [iterations[0], iterations[-1] + 1],
        },
    )


def _ranks(folder: Path) -> list[Path]:
    found = {
        int(match[1]): file
        for file in folder.iterdir()
        if (match := _RANK.fullmatch(file.name))
    }
    if not found:
        raise FileError(folder, "holds no rank0.safetensors")
    for rank in range(max(found) + 1):
        if rank not in found:
            raise FileError(folder, f"rank{rank}.safetensors is missing")
    return [found[rank] for rank in sorted(found)]


def _grid(files: list[Path]) -> tuple[list[int], list[int]]:
    """Iterations and layers that every file has, without a gap."""
    first: set[str] = set()
    for path in files:
        with open_arrays(path) as arrays:
            keys = set(arrays)
        first = first or keys
        if odd := sorted(keys ^ first):
            where = files[0].name if odd[0] in keys else path.name
            raise FileError(path, f"key {odd[0]} is missing in {where}")
    matches = []
    for key in first:
        match = _KEY.fullmatch(key)
        if match is None:
            raise FileError(files[0], f"key {key!r} is no ITERATION_LAYER")
        matches.append((int(match[1]), int(match[2])))
    if not matches:
        raise FileError(files[0], "holds no statistics")
    iterations = sorted({iteration for iteration, _ in matches})
    layers = sorted({layer for _, layer in matches})
    there = set(matches)
    for iteration in range(iterations[0], iterations[-1] + 1):
        for layer in layers:
            if (iteration, layer) not in there:
                raise FileError(
                    files[0], f"key {iteration}_{layer} is missing: a gap in the record"
                )
    return iterations, layers


def _blocks(
    files: list[Path], iterations: list[int], layers: list[int], experts: int
) -> Iterator[Ints]:
    size = block_steps(len(layers), experts)
    for first in range(0, len(iterations), size):
        part = iterations[first : first + size]
        total = np.zeros((len(part), len(layers), experts), dtype=np.int64)
        for path in files:
            with open_arrays(path) as arrays:
                for t, iteration in enumerate(part):
                    for i, layer in enumerate(layers):
                        key = f"{iteration}_{layer}"
                        values = np.asarray(arrays[key])
                        if values.shape != (experts,):
                            raise FileError(
                                path,
                                f"{key} has shape {values.shape}, needs "
                                f"({experts},) as meta_info.json says",
                            )
                        total[t, i] += to_counts(path, key, values[None, None])[0, 0]
        used = total.any(axis=(1, 2))
        yield total[used]
