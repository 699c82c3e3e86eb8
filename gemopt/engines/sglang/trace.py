"""Dumps of SGLang's expert distribution recorder, of all four modes."""

import re
from pathlib import Path

from gemopt.engines.paths import Skipper, listed
from gemopt.engines.sglang.passes import pass_blocks
from gemopt.engines.sglang.stat import read_dump, stat_blocks
from gemopt.engines.source import TraceSource
from gemopt.files.errors import FileError

_NAME = re.compile(r"expert_distribution_recorder_(\d+(?:\.\d+)?)(?:_(\d+))?\.pt")


def open_trace(path: Path, *, skip_damaged: bool = False) -> TraceSource:
    """Open one recorder dump, or a folder with those of several times and ranks.

    Modes ``stat`` and ``stat_approx`` hold all ranks' counts by logical expert, one row
    a step, or in total as SGLang starts from them (``.pt`` or ``.json``); ``per_pass``
    and ``per_token`` hold each rank's counts by physical slot, which are summed over
    ranks and mapped back by the map in the same file. A step is one forward pass.

    Parameters
    ----------
    path
        A ``.pt`` or ``.json`` file, or a folder: its ``.pt`` files, else its ``.json``.
    skip_damaged
        Leave out damaged files; a note names each.

    Raises
    ------
    FileError
        No dump, a damaged one, or dumps that do not belong together.
    """
    notes: list[str] = []
    files = [path] if path.is_file() else _sorted(_dumps(path))
    every = list(files)
    first = Skipper(skip_damaged, notes).first(files, read_dump)
    if isinstance(first, dict) and "logical_count" in first:
        mode, blocks = "stat", stat_blocks(files, notes, skip_damaged)
    elif isinstance(first, dict) and "records" in first:
        mode, blocks = "per_pass", pass_blocks(files, every, notes, skip_damaged)
    else:
        keys = (
            ", ".join(map(str, first)) if isinstance(first, dict) else "no dictionary"
        )
        raise FileError(
            files[0],
            f"holds {keys[:120]}; a recorder dump holds logical_count or records",
        )
    return TraceSource(
        path,
        blocks,
        provenance={"engine": "sglang", "mode": mode, "files": len(files)},
        notes=notes,
    )


def _dumps(folder: Path) -> list[Path]:
    if any(folder.glob("*.pt")) or not any(folder.glob("*.json")):
        return listed(folder, "*.pt")
    return listed(folder, "*.json")


def _sorted(files: list[Path]) -> list[Path]:
    """Order recorder dumps by time, then rank; other names by name, if alone."""
    named = [(m, file) for file in files if (m := _NAME.fullmatch(file.name))]
    if not named:
        return files
    return [
        file
        for _, file in sorted(
            named, key=lambda each: (float(each[0][1]), int(each[0][2] or 0))
        )
    ]
