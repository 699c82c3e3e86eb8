"""Expert maps of vllm-ascend (``expert_map_path``): JSON by layer and device."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, ValidationError

from gemopt.arrays import Ints
from gemopt.engines.mapping import EngineMap, read_rows
from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json
from gemopt.files.schema import first_problem


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)  # the engine ignores extra keys


class _Device(_Part):
    device_expert: list[int]


class _Layer(_Part):
    device_list: list[_Device]


class _Map(_Part):
    moe_layer_count: int
    layer_list: list[_Layer]


def write_map(mapping: EngineMap, path: Path) -> None:
    """Write the map byte for byte as vllm-ascend records it.

    Raises
    ------
    ValueError
        The name does not end in ``.json``, or a rank holds an expert twice: vllm-ascend
        keeps one slot an expert and rank, so the other would never be used.
    """
    if path.suffix != ".json":
        raise ValueError(f"{path}: vllm-ascend refuses names that do not end in .json")
    shape = (len(mapping.layer_ids), mapping.placement.num_gpus, mapping.slots_per_gpu)
    table = mapping.placement.phy2log.reshape(shape)
    ordered = np.sort(table, axis=2)
    twice = np.argwhere(ordered[:, :, 1:] == ordered[:, :, :-1])
    if len(twice):
        layer, rank, slot = (int(i) for i in twice[0])
        raise ValueError(
            f"layer {layer}: rank {rank} holds expert {ordered[layer, rank, slot]} "
            "twice, which vllm-ascend refuses"
        )
    layers = [
        {
            "layer_id": i,
            "device_count": len(ranks),
            "device_list": [
                {"device_id": rank, "device_expert": experts}
                for rank, experts in enumerate(ranks)
            ],
        }
        for i, ranks in enumerate(table.tolist())
    ]
    document = {"moe_layer_count": len(layers), "layer_list": layers}
    write_text(path, json.dumps(document, indent=4))


def read_map(
    path: Path, *, gpus: int | None = None, layer_ids: ArrayLike | None = None
) -> EngineMap:
    """Read such a file, by position as the engine does; ids in it are not used.

    Raises
    ------
    FileError
        Names the file, the field and the value.
    """
    table = read_table(path)
    layers, ranks, _ = table.shape
    if gpus is not None and gpus != ranks:
        raise FileError(path, f"is a map of {ranks} devices, not of {gpus} GPUs")
    return read_rows(
        path, "device_expert", table.reshape(layers, -1), ranks, None, layer_ids
    )


def read_table(path: Path) -> Ints:
    """Expert of each layer, rank and slot, int64 ``[layers, ranks, slots]``.

    Raises
    ------
    FileError
        Names the file, the field and the value.
    """
    raw = read_json(path)
    try:
        document = _Map.model_validate(raw)
    except ValidationError as error:
        raise FileError(path, first_problem(error, raw)) from None
    if document.moe_layer_count != len(document.layer_list):
        raise FileError(
            path,
            f"moe_layer_count = {document.moe_layer_count}, but layer_list has "
            f"{len(document.layer_list)} layers",
        )
    table = [
        [d.device_expert for d in each.device_list] for each in document.layer_list
    ]
    sizes = {tuple(map(len, ranks)) for ranks in table}
    if len(sizes) != 1 or len(set(sizes.copy().pop())) != 1:
        raise FileError(
            path, "device_expert: every device of every layer needs as many experts"
        )
    return np.array(table, dtype=np.int64)
