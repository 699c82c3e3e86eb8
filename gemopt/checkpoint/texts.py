"""Everything in a checkpoint folder that is text: index, configuration, tokeniser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemopt.checkpoint.checkpoint import INDEX, Checkpoint
from gemopt.checkpoint.plan import Move
from gemopt.files.atomic import write_bytes, write_text
from gemopt.files.json_text import read_json

#: Configuration that may name modules which are quantised in another way.
_NAMES_MODULES = ("config.json", "hf_quant_config.json", "quantize_config.json")


def write_texts(source: Checkpoint, moves: Mapping[str, Move], target: Path) -> None:
    """Copy configuration and tokeniser; rename experts wherever they are named."""
    for path in source.other_files():
        if path.name in _NAMES_MODULES:
            text = json.dumps(_renamed(read_json(path), moves), indent=2) + "\n"
            write_text(target / path.name, text)
        else:
            write_bytes(target / path.name, path.read_bytes())
    if source.index is not None:
        names = source.index["weight_map"]
        weight_map = {moves[name].name: file for name, file in names.items()}
        index = {**source.index, "weight_map": dict(sorted(weight_map.items()))}
        write_text(target / INDEX, json.dumps(index, indent=2) + "\n")


def _renamed(value: Any, moves: Mapping[str, Move]) -> Any:
    """Follow the experts in lists of modules that are not quantised, and the like."""
    if isinstance(value, dict):
        return {_renamed(k, moves): _renamed(v, moves) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(item, moves) for item in value]
    if isinstance(value, str) and f"{value}.weight" in moves:
        return moves[f"{value}.weight"].name.removesuffix(".weight")
    return value
