"""TensorRT-LLM's ``moe_config.load_balancer`` YAML, keyed by layer of the model."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from numpy.typing import ArrayLike

from gemopt.engines.mapping import EngineMap, contiguous_row, read_rows
from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError

ASSIGNMENTS = "initial_global_assignments"
UPDATES = "layer_updates_per_iter"
SLOTS = "num_slots"


def write_map(
    mapping: EngineMap, path: Path, *, extra_layers: Sequence[int] = ()
) -> None:
    """Write a static map, byte for byte as TensorRT-LLM's own generator does.

    Parameters
    ----------
    mapping
        The placement.
    path
        Target, ``.yaml``.
    extra_layers
        Further layers with experts, such as that of multi-token prediction (61 in
        DeepSeek-V3): they get neighbouring experts together. TensorRT-LLM stops at the
        start when a layer has no row.

    Raises
    ------
    ValueError
        An extra layer that the placement has.
    """
    ids = mapping.layer_ids.tolist()
    rows = dict(zip(ids, mapping.placement.phy2log.tolist(), strict=True))
    for layer in extra_layers:
        if layer in rows or layer < 0:
            raise ValueError(f"--extra-layers = {layer} is in the placement already")
        rows[layer] = contiguous_row(
            mapping.num_experts, mapping.placement.num_gpus, mapping.slots_per_gpu
        )
    document = {
        ASSIGNMENTS: rows,
        UPDATES: 0,
        SLOTS: mapping.placement.num_slots,
    }
    write_text(path, yaml.dump(document, Dumper=_Inline, width=float("inf")))


def read_map(path: Path, *, gpus: int, layer_ids: ArrayLike | None = None) -> EngineMap:
    """Read such a file.

    Raises
    ------
    FileError
        Names the file, the field and the value.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(path, f"is no YAML: {error}") from None
    if not isinstance(data, dict):
        raise FileError(path, f"holds a {type(data).__name__}, needs a YAML mapping")
    for key in data:
        if key not in (ASSIGNMENTS, UPDATES, SLOTS):
            raise FileError(path, f"{key} is no field of a load balancer")
    rows, slots = data.get(ASSIGNMENTS), data.get(SLOTS)
    if not isinstance(rows, dict) or not rows:
        raise FileError(path, f"{ASSIGNMENTS} is missing or empty: no map to read")
    for layer, row in rows.items():
        if isinstance(layer, bool) or not isinstance(layer, int):
            raise FileError(path, f"{ASSIGNMENTS} has the key {layer!r}, needs a layer")
        if not isinstance(row, list) or len(row) != slots:
            length = len(row) if isinstance(row, list) else repr(row)
            raise FileError(
                path, f"{ASSIGNMENTS}[{layer}] has {length} slots, {SLOTS} = {slots}"
            )
    ids = sorted(rows)
    return read_rows(
        path, ASSIGNMENTS, [rows[i] for i in ids], gpus, layer_ids, own_ids=ids
    )


class _Inline(yaml.SafeDumper):
    """Lists on one line each; the dumper of others is left alone."""


_Inline.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence(
        "tag:yaml.org,2002:seq", data, flow_style=True
    ),
)
