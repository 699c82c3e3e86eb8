"""SGLang dumps of the modes ``per_pass`` and ``per_token``."""

import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gemopt.arrays import Ints
from gemopt.engines.arrays import field, to_counts
from gemopt.engines.physical import slot_map, to_logical
from gemopt.engines.ranks import require_all, said
from gemopt.engines.same import same_on_all_ranks, say_same
from gemopt.engines.source import block_steps
from gemopt.engines.torch_file import read_pt
from gemopt.files.errors import FileError

_NAME = re.compile(r"_(\d+)$")  # expert_distribution_recorder_TIME_RANK.pt


class _Pass(NamedTuple):
    """One rank's share of one forward pass, by logical expert."""

    number: int
    rank: int
    counts: Ints  # [layers, experts]
    path: Path


def pass_blocks(
    files: list[Path], every: list[Path], notes: list[str], skip_damaged: bool
) -> Iterator[Ints]:
    """Sum the ranks of each forward pass; at most one file a rank is open at a time.

    Forward passes that some rank lacks, as happens where recording starts and stops, or
    where a damaged file is left out, are left out, and `notes` says how many.

    Parameters
    ----------
    files
        Dumps in time order.
    every
        The same and those that are left out already; their names may tell ranks.
    notes
        Remarks for people.
    skip_damaged
        Leave out damaged files; a note names each.
    """
    by_rank = _by_rank(files, notes, skip_damaged)
    named = {int(match[1]) for path in every if (match := _NAME.search(path.stem))}
    if skip_damaged and (lost := sorted(named - set(by_rank))):
        raise FileError(
            files[0].parent,
            f"has no undamaged dump of rank {lost[0]}, so no forward pass is whole",
        )
    require_all(files[0].parent, by_rank)
    notes.append(said(by_rank))

    def merged() -> Iterator[list[_Pass]]:
        passes = heapq.merge(
            *(_passes(rank, own, notes, skip_damaged) for rank, own in by_rank.items()),
            key=lambda each: each.number,
        )
        for _, group in groupby(passes, key=lambda each: each.number):
            yield list(group)

    same = same_on_all_ranks(
        sums for shares in merged() if len(sums := _rank_sums(shares)) == len(by_rank)
    )
    if same:
        say_same(len(by_rank), notes)
    yield from _blocks(merged(), len(by_rank), same, notes)


def _by_rank(
    files: list[Path], notes: list[str], skip_damaged: bool
) -> dict[int, list[Path]]:
    """Files of each rank, in time order."""
    by_rank: dict[int, list[Path]] = {}
    for path in files:
        try:
            by_rank.setdefault(_rank(path), []).append(path)
        except (FileError, OSError) as error:
            if not skip_damaged:
                raise
            notes.append(f"left out: {error}")
    if not by_rank:
        raise FileError(files[0].parent, f"has no undamaged dump ({notes[-1]})")
    return by_rank


def _blocks(
    merged: Iterator[list[_Pass]], ranks: int, same: bool, notes: list[str]
) -> Iterator[Ints]:
    waiting: list[Ints] = []
    shape: tuple[int, ...] | None = None
    left_out = 0
    for shares in merged:
        for share in shares:
            shape = shape or share.counts.shape
            if share.counts.shape != shape:
                raise FileError(
                    share.path,
                    f"forward pass {share.number} has {share.counts.shape} layers and "
                    f"experts, earlier ones {shape}",
                )
        if len({share.rank for share in shares}) < ranks:
            left_out += 1
            continue
        sums = _rank_sums(shares)
        total = sums[0] if same else np.sum(sums, axis=0)
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


def _rank_sums(shares: list[_Pass]) -> list[Ints]:
    """Counts of each rank, which has a record for each of its gatherers."""
    sums: dict[int, Ints] = {}
    for share in shares:
        sums[share.rank] = sums.get(share.rank, 0) + share.counts
    return list(sums.values())


def _passes(
    rank: int, files: list[Path], notes: list[str], skip_damaged: bool
) -> Iterator[_Pass]:
    """All records of a rank; forward passes must rise from file to file."""
    last, keys = -1, set[Any]()
    for path in files:
        state = last, set(keys)
        own: Iterable[_Pass] = _records(rank, path, last, keys)
        if skip_damaged:
            try:
                own = list(own)  # to its end, before any of it is used
            except (FileError, OSError) as error:
                note = f"left out: {error}"
                if note not in notes:
                    notes.append(note)
                last, keys = state
                continue
        for each in own:
            last = each.number
            yield each


def _records(rank: int, path: Path, last: int, keys: set[Any]) -> Iterator[_Pass]:
    """Records of one file; `keys` are those of the forward pass `last`."""
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
            last = number
            keys.clear()
        elif number < last or key in keys:
            raise FileError(
                path,
                f"records[{i}].forward_pass_id = {number} after {last}; dumps of "
                "two server runs? keep each run in a folder of its own",
            )
        keys.add(key)
        yield _Pass(number, rank, _logical(path, i, record, slots, experts), path)


def _load(path: Path) -> tuple[list[Any], Ints, int]:
    data = read_pt(path)
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
