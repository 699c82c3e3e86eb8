"""Expert load of vLLM: windows by physical slot, or totals by logical expert."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints, layer_indices
from gemopt.engines.arrays import field, open_arrays, plain, to_counts, to_whole
from gemopt.engines.paths import Skipper, listed
from gemopt.engines.physical import slot_map, time_order, to_logical
from gemopt.engines.ranks import absent, by_recording, rank_name, said_of
from gemopt.engines.same import Shares
from gemopt.engines.source import TraceSource, block_steps
from gemopt.files.errors import FileError

WINDOW, MAP = "expert_load_window", "physical_to_logical_map"
POSITION = "expert_load_window_step"


def open_trace(
    path: Path,
    *,
    map: Path | None = None,
    model: str | None = None,
    layer_ids: ArrayLike | None = None,
    skip_damaged: bool = False,
) -> TraceSource:
    """Open what was saved of ``EplbModelState``, or a file of offline EPLB.

    Parameters
    ----------
    path
        A file (.npz, .safetensors, .pt), or a folder of them in time order. Either
        `expert_load_window` ``[window, layers, slots]`` and `physical_to_logical_map`
        ``[layers, slots]``; with `expert_load_window_step`, the place that is written
        next, the ring is put in time order. Files whose names differ in ``rank0``,
        ``rank1``... only are one window and are summed. Or a safetensors file of one
        float tensor ``[layers, experts]`` a model (vLLM pull request 41141): a single
        step.
    map
        File with `physical_to_logical_map`, when the windows have none.
    model
        Which tensor of an offline file, when it holds several.
    layer_ids
        Index of each MoE layer in the model, which vLLM does not save.
    skip_damaged
        Leave out windows with a damaged or missing file; a note names each.

    Raises
    ------
    FileError
        Names the file, the array and what is wrong.
    """
    files = (
        [path]
        if path.is_file()
        else [f for f in listed(path, "*.npz", "*.safetensors", "*.pt") if f != map]
    )
    notes: list[str] = []
    windows = by_recording(files) if len(files) > 1 else {path.stem: files}
    if len(files) > 1 or rank_name(files[0]).ranks:
        notes.append(said_of(files))
    return TraceSource(
        path,
        _blocks(windows, _Reader(map, model, notes), layer_ids, skip_damaged),
        layer_ids=None if layer_ids is None else np.asarray(layer_ids, np.int64),
        provenance={"engine": "vllm", "files": len(files)},
        notes=notes,
    )


def _blocks(
    windows: dict[str, list[Path]],
    reader: "_Reader",
    layer_ids: ArrayLike | None,
    skip_damaged: bool,
) -> Iterator[Ints]:
    skipper = Skipper(skip_damaged, reader.notes)
    files = [file for group in windows.values() for file in group]
    shape: tuple[int, ...] | None = None

    def window(ranks: list[Path]) -> Iterator[Ints]:
        if missing := absent(ranks, files):
            raise FileError(
                ranks[0], f"is of a window that rank {missing} has no file of"
            )
        for block in reader.window(ranks):
            if shape is None:
                try:
                    layer_indices(layer_ids, block.shape[1])
                except ValueError as error:
                    raise FileError(ranks[0], str(error)) from None
            elif block.shape[1:] != shape:
                raise FileError(
                    ranks[0],
                    f"has {block.shape[1:]} layers and experts, earlier windows "
                    f"{shape}",
                )
            yield block

    for group in windows.values():
        for block in skipper.blocks(partial(window, group)):
            shape = block.shape[1:]
            yield block


@dataclass(frozen=True)
class _Reader:
    """How windows are read: the options, and the remarks so far."""

    map: Path | None
    model: str | None
    notes: list[str]

    def window(self, ranks: list[Path]) -> Iterator[Ints]:
        """Steps of one window, of all its ranks' files together."""
        shares = Shares(self.notes)
        slots: Ints | None = None
        experts, placed = 0, True
        for path in ranks:
            with open_arrays(path) as arrays:
                if WINDOW not in arrays:
                    if offline := _offline(path, arrays, self.model):
                        yield from offline
                        return
                    field(path, arrays, WINDOW)
                own, experts = _map(path, arrays, self.map)
                counts = _ring(path, arrays)
                placed = placed and POSITION in arrays
            if counts.shape[1:] != own.shape:
                raise FileError(
                    path,
                    f"{WINDOW} has {counts.shape[1:]} layers and slots, {MAP} "
                    f"{own.shape}",
                )
            if slots is not None and not np.array_equal(own, slots):
                raise FileError(path, f"{MAP} differs from that of {ranks[0].name}")
            if shares.number and counts.shape != shares.first.shape:
                raise FileError(
                    path,
                    f"{WINDOW} has shape {counts.shape}, {ranks[0].name} "
                    f"{shares.first.shape}",
                )
            slots = own
            shares.add(counts)
        if slots is not None:
            total = shares.together()
            order = self._order(ranks[0], total, placed)
            size = block_steps(total.shape[1], experts)
            for first in range(0, len(order), size):
                yield to_logical(total[order[first : first + size]], slots, experts)

    def _order(self, path: Path, total: Ints, placed: bool) -> Ints:
        """Numbers of the used rows in time order."""
        used = np.asarray(total.any(axis=(1, 2)))
        if placed:  # the file says where its ring begins
            return np.flatnonzero(used)
        order, guessed = time_order(used)
        if guessed or used.all():
            self.notes.append(
                f"{path.name}: the order of its steps is a guess, because it has no "
                f"{POSITION}"
            )
        return order


def _map(path: Path, arrays: Mapping[str, Any], map: Path | None) -> tuple[Ints, int]:
    if map is None:
        if MAP not in arrays:
            raise FileError(path, f"{MAP} is missing; give a file of it with --map")
        return slot_map(path, MAP, arrays[MAP])
    with open_arrays(map) as others:
        return slot_map(map, MAP, field(map, others, MAP))


def _ring(path: Path, arrays: Mapping[str, Any]) -> Ints:
    """The window in time order where the file says where its ring begins."""
    counts = to_counts(path, WINDOW, arrays[WINDOW])
    if POSITION not in arrays:
        return counts
    position = int(to_whole(path, POSITION, np.ravel(plain(arrays[POSITION])), 1)[0])
    if not 0 <= position < max(1, len(counts)):
        raise FileError(
            path, f"{POSITION} = {position} is outside the window of {len(counts)}"
        )
    return np.roll(counts, -position, axis=0)


def _offline(
    path: Path, arrays: Mapping[str, Any], model: str | None
) -> list[Ints] | None:
    """Steps of an offline file, one; None if it is no such file."""
    metadata = getattr(arrays, "metadata", None) or {}
    if path.suffix != ".safetensors" or metadata.get("version") != "1":
        return None
    names = sorted(arrays)
    if model is None and len(names) != 1:
        raise FileError(
            path, f"holds the models {', '.join(names)}; choose one with --model"
        )
    name = names[0] if model is None else model
    load = to_whole(path, name, field(path, arrays, name), 2)
    return [to_counts(path, name, load[None])]
