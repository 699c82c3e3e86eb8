"""Write a checkpoint whose experts are renumbered as a placement says.

The deployment of GEM (arXiv 2605.19945): slot s holds expert ``phy2log[s]``, so that
expert becomes number s, its weights, scales, router row and router biases with it. An
engine that gives consecutive experts to consecutive ranks then serves the placement,
and the outputs stay the same because routing follows the renumbered router.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gemopt
from gemopt.arrays import Ints
from gemopt.checkpoint.checkpoint import Checkpoint, read_checkpoint
from gemopt.checkpoint.families import Family
from gemopt.checkpoint.journal import JOURNAL, Finished, Journal
from gemopt.checkpoint.plan import Move, moe_layers, plan_moves, rows_by_layer
from gemopt.checkpoint.settings import renamed_settings
from gemopt.checkpoint.shards import Shard, digests, read_shard, write_shard
from gemopt.checkpoint.texts import write_texts
from gemopt.checkpoint.verify import require_same_experts
from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError
from gemopt.files.json_text import dump_json
from gemopt.model.placement import Placement

#: What was done, with the checksums of all experts; beside the new weights.
RECORD = "gemopt-apply.json"
_SPARE_BYTES = 2**24  #: headers, configuration and tokeniser


@dataclass(frozen=True)
class Applied:
    """What `apply_checkpoint` did.

    Attributes
    ----------
    family
        Name of the model family.
    layer_ids
        Hidden layers that were mapped.
    unmapped
        Hidden layers with experts that the placement does not name; left as they are.
    experts
        Experts of a layer.
    moved
        Experts of all layers that changed their number.
    shards, resumed
        Weight files, and how many of them an earlier run had finished.
    num_bytes
        Size of the weight files.
    """

    family: str
    layer_ids: tuple[int, ...]
    unmapped: tuple[int, ...]
    experts: int
    moved: int
    shards: int
    resumed: int
    num_bytes: int


def apply_checkpoint(
    checkpoint: str | Path,
    placement: Placement,
    output: str | Path,
    *,
    layer_ids: Sequence[int] | None = None,
    on_shard: Callable[[int, int], None] | None = None,
) -> Applied:
    """Write a copy of a checkpoint with the experts of each layer renumbered.

    Weights are copied as bytes: dtypes and quantisation scales stay as they are, and
    memory does not grow with the size of a shard. A run that was cut off goes on where
    it stopped when it is called again. Every tensor is read back and its checksum
    compared with the source's.

    Parameters
    ----------
    checkpoint
        Folder with config.json and safetensors weights.
    placement
        One slot for each expert, equally many on each GPU; where they do not divide,
        the first GPUs have one more.
    output
        New folder.
    layer_ids
        Hidden layer of each layer of `placement`; None means the model's MoE layers
        in order.
    on_shard
        Called with (weight files done, weight files in all).

    Raises
    ------
    ValueError
        The placement cannot be a renumbering of this model (replicas, unequal slots,
        another number of experts, group-limited routing), a file is malformed, or
        a setting names experts in a way that cannot follow them.
    OSError
        Reading or writing failed, or the disk is too small.
    """
    source = read_checkpoint(checkpoint)
    known = moe_layers(list(source.shapes), source.family)
    ids = known if layer_ids is None else [int(layer) for layer in layer_ids]
    rows = rows_by_layer(placement, ids)
    try:
        moves = plan_moves(source.shapes, source.family, rows, source.groups)
    except ValueError as error:
        raise FileError(source.folder, str(error)) from None
    settings = renamed_settings(source, rows)
    target = _prepare(source, Path(output))
    resumed = _write_all(source, rows, moves, settings, target, on_shard)
    return Applied(
        family=source.family.name,
        layer_ids=tuple(rows),
        unmapped=tuple(layer for layer in known if layer not in rows),
        experts=placement.num_slots,
        moved=sum(int((row != np.arange(len(row))).sum()) for row in rows.values()),
        shards=len(source.shards),
        resumed=resumed,
        num_bytes=source.num_bytes,
    )


def _write_all(
    source: Checkpoint,
    rows: Mapping[int, Ints],
    moves: Mapping[str, Move],
    settings: Mapping[str, str],
    target: Path,
    on_shard: Callable[[int, int], None] | None,
) -> int:
    """Write and verify everything; return the files that an earlier run finished."""
    with Journal(target, _key(source, rows)) as journal:
        resumed = len(journal.finished)
        _require_space(source, journal)
        for number, (file, shard) in enumerate(source.shards.items(), 1):
            if file not in journal.finished:
                journal.finish(_copy_shard(shard, moves, target / file))
            if on_shard is not None:
                on_shard(number, len(source.shards))
        sums = require_same_experts(source.family, rows, journal)
        write_texts(source, moves, settings, target)
        write_text(target / RECORD, _record(source.family, rows, sums))
        journal.remove()
    return resumed


def _prepare(source: Checkpoint, target: Path) -> Path:
    """Make the output folder, refusing one that holds something else."""
    if target.resolve() == source.folder.resolve():
        raise ValueError(f"{target}: is the checkpoint itself; choose another folder")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is a file; give a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / JOURNAL).exists():
        raise ValueError(f"{target}: is not empty; remove it or choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    return target


def _key(source: Checkpoint, rows: Mapping[int, Ints]) -> str:
    """Digest of what is copied and how: a journal of something else must not go on."""
    digest = hashlib.blake2b(digest_size=16)
    for file, shard in source.shards.items():
        stat = shard.path.stat()
        digest.update(f"{file}:{stat.st_size}:{stat.st_mtime_ns}:".encode())
        digest.update(shard.header)
    for layer, row in rows.items():
        digest.update(f"{layer}:{row.tolist()}".encode())
    return digest.hexdigest()


def _require_space(source: Checkpoint, journal: Journal) -> None:
    done = sum(item.num_bytes for item in journal.finished.values())
    missing = source.num_bytes + _SPARE_BYTES - done
    free = shutil.disk_usage(journal.folder).free
    if free < missing:
        raise OSError(
            errno.ENOSPC,
            f"needs {missing / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            str(journal.folder),
        )


def _copy_shard(shard: Shard, moves: Mapping[str, Move], output: Path) -> Finished:
    """Copy one weight file and read it back."""
    before = write_shard(shard, moves, output)
    counts = {m.name: len(m.order) for m in moves.values() if m.order is not None}
    after = digests(read_shard(output), counts)
    for name, sums in before.items():
        move = moves[name]
        wanted = sums if move.order is None else [sums[old] for old in move.order]
        if after.get(move.name) != wanted:
            raise FileError(output, f"{move.name} was not written as it was read")
    return Finished(output.name, output.stat().st_size, before, after)


def _record(
    family: Family, rows: Mapping[int, Ints], sums: Mapping[int, list[str]]
) -> str:
    return dump_json(
        {
            "format": "gemopt-applied",
            "version": 1,
            "gemopt": gemopt.__version__,
            "family": family.name,
            "layer_ids": list(rows),
            "phy2log": [row.tolist() for row in rows.values()],
            "checksum": "blake2b-128",
            "experts": [sums[layer] for layer in rows],
        }
    )
