"""Initial expert maps of vLLM, as proposed in its pull request 49572: JSON rows."""

import json
from pathlib import Path

from numpy.typing import ArrayLike

from gemopt.engines.mapping import EngineMap, read_rows
from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json


def write_map(mapping: EngineMap, path: Path) -> None:
    """Write one row of slots for each MoE layer."""
    write_text(path, json.dumps(mapping.placement.phy2log.tolist()))


def read_map(path: Path, *, gpus: int, layer_ids: ArrayLike | None = None) -> EngineMap:
    """Read rows for MoE layers, or one row for all of them.

    `layer_ids` are the indices of the rows in the model; one row for all needs them.

    Raises
    ------
    FileError
        Names the file, the field and the value.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise FileError(path, "holds no list of slots")
    if not isinstance(rows[0], list):
        if layer_ids is None:
            raise FileError(
                path, "is one map for all layers; name them with --layer-ids"
            )
        rows = [rows] * len(list(layer_ids))  # type: ignore[arg-type]
    return read_rows(path, "map", rows, gpus, None, own_ids=layer_ids)
