"""Expert load views of vllm-ascend: bare tensors of load by rank and slot."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints
from gemopt.engines.arrays import plain, to_counts
from gemopt.engines.ascend.map import read_table
from gemopt.engines.paths import Skipper, listed
from gemopt.engines.physical import slot_map, to_logical
from gemopt.engines.source import TraceSource, block_steps
from gemopt.engines.torch_file import read_pt
from gemopt.files.errors import FileError


def open_trace(
    path: Path,
    *,
    map: Path | None = None,
    layer_ids: ArrayLike | None = None,
    skip_damaged: bool = False,
) -> TraceSource:
    """Open ``expert_load_view.pt``, or a folder of such files in name order.

    Parameters
    ----------
    path
        ``.pt`` files of one tensor each, ``[layers, ranks, slots]`` (one step) or
        ``[stages, layers, ranks, slots]``, which begin at stage 0.
    map
        The expert map at that time: the JSON of ``expert_map_record_path``, or a
        ``.pt`` tensor ``[layers, ranks, slots]``; None means the one ``.json`` of the
        folder.
    layer_ids
        Index of each MoE layer in the model, which vllm-ascend does not save.
    skip_damaged
        Leave out damaged files; a note names each.

    Raises
    ------
    FileError
        Names the file and what is wrong.
    """
    folder = path if path.is_dir() else path.parent
    if map is None:
        maps = sorted(folder.glob("*.json"))
        if len(maps) != 1:
            raise FileError(
                folder, f"holds {len(maps)} expert maps (.json); give one with --map"
            )
        map = maps[0]
    files = [path] if path.is_file() else [f for f in listed(path, "*.pt") if f != map]
    table = _table(map)
    notes: list[str] = []
    return TraceSource(
        path,
        _blocks(files, map, table, Skipper(skip_damaged, notes)),
        layer_ids=None if layer_ids is None else np.asarray(layer_ids, np.int64),
        provenance={"engine": "vllm-ascend", "files": len(files), "map": map.name},
        notes=notes,
    )


def _table(map: Path) -> Any:
    table = plain(read_pt(map)) if map.suffix == ".pt" else read_table(map)
    if table.ndim != 3:
        raise FileError(
            map, f"map has shape {table.shape}, needs [layers, ranks, slots]"
        )
    return table


def _blocks(
    files: list[Path], map: Path, table: Any, skipper: Skipper
) -> Iterator[Ints]:
    slots, experts = slot_map(map, "map", table.reshape(len(table), -1))

    def stages(path: Path) -> Iterator[Ints]:
        load = plain(read_pt(path))
        if load.ndim not in (3, 4) or load.shape[-3:] != table.shape:
            raise FileError(
                path,
                f"load has shape {load.shape}, the map {map.name} has "
                f"[layers, ranks, slots] = {table.shape}",
            )
        rows = load.reshape(-1, *slots.shape)
        used = np.flatnonzero(rows.any(axis=(1, 2)))
        size = block_steps(len(slots), experts)
        for first in range(0, len(used), size):
            part = to_counts(path, "load", rows[used[first : first + size]])
            yield to_logical(part, slots, experts)

    for path in files:
        yield from skipper.blocks(partial(stages, path))
