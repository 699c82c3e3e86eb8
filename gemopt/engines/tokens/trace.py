"""Per-token expert ids, from any source, as steps of a batched server."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.arrays import Ints, layer_indices
from gemopt.engines.arrays import field, open_arrays, plain, to_whole
from gemopt.engines.paths import Skipper, listed
from gemopt.engines.source import TraceSource
from gemopt.engines.tokens.padding import Absent, Ids, absent_choices, without_padding
from gemopt.files.errors import FileError
from gemopt.traffic.serving import check_tokens, serving_steps


def open_trace(
    path: Path,
    *,
    batch: int | None = None,
    experts: int | None = None,
    padding_id: int | None = None,
    seed: int = 0,
    layer_ids: ArrayLike | None = None,
    skip_damaged: bool = False,
) -> TraceSource:
    """Open a file (.npz, .safetensors, .pt), or a folder of them in name order.

    Parameters
    ----------
    path
        Arrays `expert_ids` ``[tokens, layers, top_k]`` and `request_offsets`
        ``[requests + 1]``, as `gemopt.traffic.serving_steps` takes them, and by choice
        `layer_ids` ``[layers]``. Each file is served on its own.
    batch
        Requests that run at a time.
    experts
        Experts of a layer; None means the largest id of the first file and one, which a
        note says.
    padding_id
        An id that stands for no expert, beside those that are found without it: see
        `gemopt.engines.tokens.padding.absent_choices`.
    seed
        Seed of the order of requests.
    layer_ids
        Index of each MoE layer in the model, when the files have none.
    skip_damaged
        Leave out damaged files; a note names each.

    Raises
    ------
    FileError
        Names the file, the array and what is wrong.
    ValueError
        No batch.
    """
    if batch is None:
        raise ValueError(
            f"{path} holds per-token expert ids; give --batch, the requests a step"
        )
    if experts is not None and experts < 1:
        raise ValueError(f"{path}: experts = {experts} must be at least 1")
    files = [path] if path.is_file() else listed(path, "*.npz", "*.safetensors", "*.pt")
    notes: list[str] = []
    skipper = Skipper(skip_damaged, notes)
    ids, own_layers = skipper.first(files, _first)
    if experts is None:
        experts, note = _guess(ids, absent_choices(ids, None, padding_id))
        notes.append(note)
    if layer_ids is None:
        layer_ids = own_layers
    how = _How(batch, experts, padding_id, seed)
    return TraceSource(
        path,
        _blocks(files, how, layer_ids, skipper),
        layer_ids=None if layer_ids is None else np.asarray(layer_ids, np.int64),
        provenance={
            "engine": "tokens",
            "files": len(files),
            "batch": batch,
            "serving_seed": seed,
        },
        notes=notes,
    )


class _How(NamedTuple):
    """The options: how to serve."""

    batch: int
    experts: int
    padding_id: int | None
    seed: int


def _first(path: Path) -> tuple[Ids, Any]:
    """Ids and layer ids, if it has them, of the file that stands for all."""
    with open_arrays(path) as arrays:
        ids = _ids(path, arrays)
        if "layer_ids" not in arrays:
            return ids, None
        return ids, to_whole(path, "layer_ids", arrays["layer_ids"], 1)


def _ids(path: Path, arrays: Mapping[str, Any]) -> Ids:
    ids = plain(field(path, arrays, "expert_ids"))
    if ids.dtype.kind not in "iu":
        raise FileError(path, f"expert_ids has type {ids.dtype}, needs whole numbers")
    if ids.ndim != 3 or not ids.size:
        raise FileError(
            path, f"expert_ids has shape {ids.shape}, needs [tokens, layers, top_k]"
        )
    return ids


def _guess(ids: Ids, absent: NDArray[np.bool_]) -> tuple[int, str]:
    """Guess the number of experts of a layer; and say so."""
    largest = int(ids[~absent].max()) if not absent.all() else 0
    note = (
        f"experts = {largest + 1} is a guess, the largest id and one; --experts says "
        "how many there are"
    )
    if ((ids == largest) | absent).any(axis=2).all() and largest >= ids.shape[2]:
        note += f" (id {largest} is in every token: a fused shared expert?)"
    return largest + 1, note


def _blocks(
    files: list[Path], how: _How, layer_ids: ArrayLike | None, skipper: Skipper
) -> Iterator[Ints]:
    layers: int | None = None
    seen = Absent(0, 0, set())

    def served(path: Path) -> Iterator[Ints]:
        steps, left_out = _serve(path, how)
        if layers is not None and steps.shape[1] != layers:
            raise FileError(
                path,
                f"expert_ids has {steps.shape[1]} layers, earlier files {layers}",
            )
        try:
            layer_indices(layer_ids, steps.shape[1])
        except ValueError as error:
            raise FileError(path, str(error)) from None
        seen.add(left_out)
        yield steps

    for path in files:
        for steps in skipper.blocks(partial(served, path)):
            layers = steps.shape[1]
            yield steps
    skipper.notes += seen.notes()


def _serve(path: Path, how: _How) -> tuple[Ints, Absent]:
    """Steps of one file, int64 ``[steps, layers, experts]``, and what is left out."""
    with open_arrays(path) as arrays:
        ids = _ids(path, arrays)
        offsets = plain(field(path, arrays, "request_offsets"))
    seen = Absent(0, 0, set())
    absent = absent_choices(ids, how.experts, how.padding_id)
    if absent.all():
        raise FileError(path, "expert_ids names no expert: all of it is padding")
    try:
        _, offsets = check_tokens(np.where(absent, 0, ids), offsets, how.experts)
        ids, offsets = without_padding(ids, offsets, absent, how.experts, seen)
        # Absent choices go to one expert more, which is taken off again.
        steps = serving_steps(
            ids, offsets, how.batch, experts=how.experts + 1, seed=how.seed
        )
    except ValueError as error:
        raise FileError(path, str(error)) from None
    return steps[:, :, : how.experts], seen
