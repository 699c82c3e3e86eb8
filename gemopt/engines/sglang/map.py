"""SGLang's ``--init-expert-location``: JSON or ``.pt``, a row for each hidden layer."""

import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from gemopt.engines.arrays import plain
from gemopt.engines.mapping import EngineMap, read_rows
from gemopt.engines.torch_file import read_pt
from gemopt.files.atomic import write_bytes
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json

KEY = "physical_to_logical_map"


def write_map(
    mapping: EngineMap, path: Path, *, hidden_layers: int | None = None
) -> None:
    """Write the map of all hidden layers, under the only key that SGLang allows.

    Parameters
    ----------
    mapping
        The placement; layers that it lacks get SGLang's own start: expert s % experts
        in slot s.
    path
        ``.json`` or ``.pt`` (an int64 tensor).
    hidden_layers
        ``num_hidden_layers`` of the model; None means that the last one is placed.

    Raises
    ------
    ValueError
        Another suffix, fewer hidden layers than placed ones, or torch is missing.
    """
    last = int(mapping.layer_ids.max()) + 1
    layers = last if hidden_layers is None else hidden_layers
    if layers < last:
        raise ValueError(
            f"--hidden-layers = {layers}, but the placement has layer {last - 1}"
        )
    slots = mapping.placement.num_slots
    rows = np.tile(np.arange(slots) % mapping.num_experts, (layers, 1))
    rows[mapping.layer_ids] = mapping.placement.phy2log
    if path.suffix == ".json":
        write_bytes(path, json.dumps({KEY: rows.tolist()}).encode())
    elif path.suffix == ".pt":
        write_bytes(path, _torch_bytes(path, rows))
    else:
        raise ValueError(
            f"{path}: SGLang tells the format by the suffix; needs .json or .pt"
        )


def read_map(path: Path, *, gpus: int, layer_ids: ArrayLike | None = None) -> EngineMap:
    """Read such a file; `layer_ids` picks the layers with experts.

    Raises
    ------
    FileError
        Names the file, the field and the value.
    """
    data = read_pt(path) if path.suffix == ".pt" else read_json(path)
    if not isinstance(data, dict) or KEY not in data:
        hint = ""
        if isinstance(data, dict) and "logical_count" in data:
            hint = "; logical_count is a recorder dump: import it as a trace"
        raise FileError(path, f"{KEY} is missing{hint}")
    if len(data) > 1:
        other = next(key for key in data if key != KEY)
        raise FileError(path, f"{other} stands beside {KEY}, which SGLang refuses")
    try:
        rows = plain(data[KEY])
    except (TypeError, ValueError) as error:
        raise FileError(path, f"{KEY}: {error}") from None
    return read_rows(path, KEY, rows, gpus, layer_ids)


def _torch_bytes(path: Path, rows: np.ndarray) -> bytes:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: writing .pt needs torch, which is not installed; use .json"
        ) from None
    buffer = io.BytesIO()
    torch.save({KEY: torch.from_numpy(rows)}, buffer)
    return buffer.getvalue()
