"""SGLang dumps of the modes ``per_pass`` and ``per_token``."""

import heapq
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gemopt.arrays import Ints
from gemopt.engines.arrays import field, load_pt, to_counts
from gemopt.engines.physical import slot_map, to_logical
from gemopt.engines.source import block_steps
from gemopt.files.errors import FileError


class _Pass(NamedTuple):
    """One rank's share of one forward pass, by logical expert."""

    number: int
    rank: int
    counts: Ints  # [layers, experts]
    path: Path


def pass_blocks(files: list[Path], notes: list[str]) -> Iterator[Ints]:
    """Sum the ranks of each forward pass; at most one file a rank is open at a time.

    Forward passes that some rank lacks, as happens where recording starts and stops,
    are left out, and `notes` says how many.
    """
    by_rank: dict[int, list[Path]] = {}
    for path in files:
        by_rank.setdefault(_rank(path), []).append(path)
    for rank in range(max(by_rank) + 1):
        if rank not in by_rank:
            raise FileError(
                files[0].parent,
                f"has dumps of ranks {sorted(by_rank)}, rank {rank} is missing",
            )
    merged = heapq.merge(
        *(_passes(rank, own) for rank, own in by_rank.items()),
        key=lambda each: each.number,
    )
    yield from _blocks(merged, len(by_rank), notes)


def _blocks(merged: Iterator[_Pass], ranks: int, notes: list[str]) -> Iterator[Ints]:
    waiting: list[Ints] = []
    shape: tuple[int, ...] | None = None
    left_out = 0
    for number, group in groupby(merged, key=lambda each: each.number):
        shares = list(group)
        for share in shares:
            shape = shape or share.counts.shape
            if share.counts.shape != shape:
                raise FileError(
                    share.path,
                    f"forward pass {number} has {share.counts.shape} layers and "
                    f"experts, earlier ones {shape}",
                )
        if len({share.rank for share in shares}) < ranks:
            left_out += 1
            continue
        total = np.sum([share.counts for share in shares], axis=0)
        if not total.any():
            continue
        waiting.append(total)
        if len(waiting) >= block_steps(*total.shape):
            yield np.stack(waiting)
            waiting = []
    if left_out:
        notes.append(f"{left_out} forward passes left out: not every rank has them")
    if waiting:
        yield np.stack(waiting)


def _passes(rank: int, files: list[Path]) -> Iterator[_Pass]:
    """All records of a rank; forward passes must rise from file to file."""
    last, keys = -1, set[Any]()
    for path in files:
        records, slots, experts = _load(path)
        for i, record in enumerate(records):
            if not isinstance(record, dict):
                raise FileError(path, f"records[{i}] is no dictionary")
            number = _integer(path, i, record, "forward_pass_id")
            if _integer(path, i, record, "rank") != rank:
                raise FileError(
                    path, f"records[{i}].rank = {record['rank']}, others have {rank}"
                )
            key = record.get("gatherer_key")
            if number > last:
                last, keys = number, set()
            elif number < last or key in keys:
                raise FileError(
                    path,
                    f"records[{i}].forward_pass_id = {number} after {last}; dumps of "
                    "two server runs? keep each run in a folder of its own",
                )
            keys.add(key)
            counts = _logical(path, i, record, slots, experts)
            yield _Pass(number, rank, counts, path)


def _load(path: Path) -> tuple[list[Any], Ints, int]:
    data = load_pt(path)
    if not isinstance(data, dict) or "records" not in data:
        raise FileError(path, "records is missing; keep dumps of other modes elsewhere")
    name = "last_physical_to_logical_map"
    slots, experts = slot_map(path, name, field(path, data, name))
    if not isinstance(data["records"], list):
        raise FileError(path, "records is no list")
    return data["records"], slots, experts


def _rank(path: Path) -> int:
    records, _, _ = _load(path)
    if not records:
        raise FileError(path, "records is empty: nothing was recorded")
    if not isinstance(records[0], dict):
        raise FileError(path, "records[0] is no dictionary")
    return _integer(path, 0, records[0], "rank")


def _integer(path: Path, i: int, record: dict[Any, Any], name: str) -> int:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FileError(path, f"records[{i}].{name} = {value!r}, needs a number >= 0")
    return value


def _logical(
    path: Path, i: int, record: dict[Any, Any], slots: Ints, experts: int
) -> Ints:
    name = f"records[{i}].global_physical_count"
    values = record.get("global_physical_count")
    if values is None:
        raise FileError(path, f"{name} is missing")
    if tuple(values.shape if hasattr(values, "shape") else ()) != slots.shape:
        shape = tuple(getattr(values, "shape", ()))
        raise FileError(
            path, f"{name} has shape {shape}, the map in this file {slots.shape}"
        )
    return to_logical(to_counts(path, name, values[None]), slots, experts)[0]
