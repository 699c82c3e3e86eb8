"""Everything in a checkpoint folder that is text: index, configuration, tokeniser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gemopt.checkpoint.checkpoint import INDEX, Checkpoint
from gemopt.checkpoint.plan import Move
from gemopt.files.atomic import write_bytes, write_text


def write_texts(
    source: Checkpoint,
    moves: Mapping[str, Move],
    settings: Mapping[str, str],
    target: Path,
) -> None:
    """Copy configuration and tokeniser; `settings` are those that name experts."""
    for path in source.other_files():
        if path.name in settings:
            write_text(target / path.name, settings[path.name])
        else:
            write_bytes(target / path.name, path.read_bytes())
    if source.index is not None:
        names = source.index["weight_map"]
        weight_map = {moves[name].name: file for name, file in names.items()}
        index = {**source.index, "weight_map": dict(sorted(weight_map.items()))}
        write_text(target / INDEX, json.dumps(index, indent=2) + "\n")
