"""Expert load of vLLM: windows by physical slot, or totals by logical expert."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints, layer_indices
from gemopt.engines.arrays import field, open_arrays, plain, to_counts, to_whole
from gemopt.engines.paths import listed
from gemopt.engines.physical import slot_map, time_order, to_logical
from gemopt.engines.source import TraceSource, block_steps
from gemopt.files.errors import FileError

WINDOW, MAP = "expert_load_window", "physical_to_logical_map"
POSITION = "expert_load_window_step"
_RANK = re.compile(r"(.*?)[._-]?rank[._-]?\d+")


def open_trace(
    path: Path,
    *,
    map: Path | None = None,
    model: str | None = None,
    layer_ids: ArrayLike | None = None,
) -> TraceSource:
    """Open what was saved of ``EplbModelState``, or a file of offline EPLB.

    Parameters
    ----------
    path
        A file (.npz, .safetensors, .pt), or a folder of them in time order. Either
        `expert_load_window` ``[window, layers, slots]`` and `physical_to_logical_map`
        ``[layers, slots]``; with `expert_load_window_step`, the place that is written
        next, the ring is put in time order. Files ``...rank0...``, ``...rank1...`` of
        the same name are one window and are summed. Or a safetensors file of one float
        tensor ``[layers, experts]`` a model (vLLM pull request 41141): a single step.
    map
        File with `physical_to_logical_map`, when the windows have none.
    model
        Which tensor of an offline file, when it holds several.
    layer_ids
        Index of each MoE layer in the model, which vLLM does not save.

    Raises
    ------
    FileError
        Names the file, the array and what is wrong.
    """
    files = (
        [path]
        if path.is_file()
        else [f for f in listed(path, "*.npz", "*.safetensors", "*.pt") if f != map]
    )
    return TraceSource(
        _blocks(files, map, model, layer_ids),
        layer_ids=None if layer_ids is None else np.asarray(layer_ids, np.int64),
        provenance={"engine": "vllm", "files": len(files)},
    )


def _blocks(
    files: list[Path], map: Path | None, model: str | None, layer_ids: ArrayLike | None
) -> Iterator[Ints]:
    shape: tuple[int, ...] | None = None
    for _, group in groupby(files, key=_window_name):
        ranks = list(group)
        for block in _window(ranks, map, model):
            if shape is None:
                shape = block.shape[1:]
                try:
                    layer_indices(layer_ids, shape[0])
                except ValueError as error:
                    raise FileError(ranks[0], str(error)) from None
            if block.shape[1:] != shape:
                raise FileError(
                    ranks[0],
                    f"has {block.shape[1:]} layers and experts, "
                    f"{files[0].name} {shape}",
                )
            yield block


def _window_name(path: Path) -> str:
    match = _RANK.fullmatch(path.stem)
    return match[1] if match else path.stem


def _window(ranks: list[Path], map: Path | None, model: str | None) -> Iterator[Ints]:
    """Steps of one window, summed over its ranks' files."""
    total: Ints | None = None
    slots: Ints | None = None
    for path in ranks:
        with open_arrays(path) as arrays:
            if WINDOW not in arrays:
                if offline := _offline(path, arrays, model):
                    yield from offline
                    return
                field(path, arrays, WINDOW)
            own, experts = _map(path, arrays, map)
            counts = _ring(path, arrays)
        if counts.shape[1:] != own.shape:
            raise FileError(
                path,
                f"{WINDOW} has {counts.shape[1:]} layers and slots, {MAP} {own.shape}",
            )
        if slots is not None and not np.array_equal(own, slots):
            raise FileError(path, f"{MAP} differs from that of {ranks[0].name}")
        if total is not None and counts.shape != total.shape:
            raise FileError(
                path,
                f"{WINDOW} has shape {counts.shape}, {ranks[0].name} {total.shape}",
            )
        slots = own
        total = counts if total is None else total + counts
    if total is None or slots is None:
        return
    order = time_order(np.asarray(total.any(axis=(1, 2))))
    size = block_steps(total.shape[1], experts)
    for first in range(0, len(order), size):
        yield to_logical(total[order[first : first + size]], slots, experts)


def _map(path: Path, arrays: Mapping[str, Any], map: Path | None) -> tuple[Ints, int]:
    if map is None:
        if MAP not in arrays:
            raise FileError(path, f"{MAP} is missing; give a file of it with --map")
        return slot_map(path, MAP, arrays[MAP])
    with open_arrays(map) as others:
        return slot_map(map, MAP, field(map, others, MAP))


def _ring(path: Path, arrays: Mapping[str, Any]) -> Ints:
    """The window in time order where the file says where its ring begins."""
    counts = to_counts(path, WINDOW, arrays[WINDOW])
    if POSITION not in arrays:
        return counts
    position = int(to_whole(path, POSITION, np.ravel(plain(arrays[POSITION])), 1)[0])
    if not 0 <= position < max(1, len(counts)):
        raise FileError(
            path, f"{POSITION} = {position} is outside the window of {len(counts)}"
        )
    return np.roll(counts, -position, axis=0)


def _offline(
    path: Path, arrays: Mapping[str, Any], model: str | None
) -> list[Ints] | None:
    """Steps of an offline file, one; None if it is no such file."""
    metadata = getattr(arrays, "metadata", None) or {}
    if path.suffix != ".safetensors" or metadata.get("version") != "1":
        return None
    names = sorted(arrays)
    if model is None and len(names) != 1:
        raise FileError(
            path, f"holds the models {', '.join(names)}; choose one with --model"
        )
    name = names[0] if model is None else model
    load = to_whole(path, name, field(path, arrays, name), 2)
    return [to_counts(path, name, load[None])]
