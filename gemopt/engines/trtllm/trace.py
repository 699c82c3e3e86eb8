"""Expert statistics of TensorRT-LLM (``EXPERT_STATISTIC_PATH``)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gemopt.arrays import Ints
from gemopt.engines.arrays import open_arrays, to_counts
from gemopt.engines.ranks import said
from gemopt.engines.same import same_on_all_ranks, say_same
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
    notes = [said(range(len(files)))]
    grid = _Grid(iterations, layers, experts)
    return TraceSource(
        path,
        _blocks(files, grid, notes),
        layer_ids=np.array(layers, dtype=np.int64),
        provenance={
            "engine": "trtllm",
            "ranks": len(files),
            "iterations": [iterations[0], iterations[-1] + 1],
        },
        notes=notes,
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


class _Grid(NamedTuple):
    """What every file holds: iterations, layers, experts of a layer."""

    iterations: list[int]
    layers: list[int]
    experts: int

    def parts(self) -> Iterator[list[int]]:
        """Iterations of one block each."""
        size = block_steps(len(self.layers), self.experts)
        for first in range(0, len(self.iterations), size):
            yield self.iterations[first : first + size]


def _blocks(files: list[Path], grid: _Grid, notes: list[str]) -> Iterator[Ints]:
    same = same_on_all_ranks(
        (_counts(path, grid, part) for path in files) for part in grid.parts()
    )
    if same:
        say_same(len(files), notes)
    for part in grid.parts():
        total = _counts(files[0], grid, part)
        for path in [] if same else files[1:]:
            total += _counts(path, grid, part)
        yield total[total.any(axis=(1, 2))]


def _counts(path: Path, grid: _Grid, part: list[int]) -> Ints:
    """Counts of one rank, int64 ``[iterations of the part, layers, experts]``."""
    counts = np.zeros((len(part), len(grid.layers), grid.experts), dtype=np.int64)
    with open_arrays(path) as arrays:
        for t, iteration in enumerate(part):
            for i, layer in enumerate(grid.layers):
                key = f"{iteration}_{layer}"
                values = np.asarray(arrays[key])
                if values.shape != (grid.experts,):
                    raise FileError(
                        path,
                        f"{key} has shape {values.shape}, needs ({grid.experts},) as "
                        "meta_info.json says",
                    )
                counts[t, i] = to_counts(path, key, values[None, None])[0, 0]
    return counts
