"""Per-token expert ids, from any source, as steps of a batched server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints
from gemopt.engines.arrays import field, open_arrays, plain
from gemopt.engines.paths import listed
from gemopt.engines.source import TraceSource
from gemopt.files.errors import FileError
from gemopt.traffic.serving import serving_steps


def open_trace(
    path: Path,
    *,
    batch: int | None = None,
    experts: int | None = None,
    seed: int = 0,
    layer_ids: ArrayLike | None = None,
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
        Experts of a layer; None means the largest id of the first file and one.
    seed
        Seed of the order of requests.
    layer_ids
        Index of each MoE layer in the model, when the files have none.

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
    files = [path] if path.is_file() else listed(path, "*.npz", "*.safetensors", "*.pt")
    with open_arrays(files[0]) as arrays:
        ids = plain(field(files[0], arrays, "expert_ids"))
        if experts is None:
            experts = int(ids.max()) + 1 if ids.size and ids.dtype.kind in "iu" else 1
        if layer_ids is None and "layer_ids" in arrays:
            layer_ids = plain(arrays["layer_ids"])
    return TraceSource(
        _blocks(files, batch, experts, seed),
        layer_ids=None if layer_ids is None else np.asarray(layer_ids, np.int64),
        provenance={
            "engine": "tokens",
            "files": len(files),
            "batch": batch,
            "serving_seed": seed,
        },
    )


def _blocks(files: list[Path], batch: int, experts: int, seed: int) -> Iterator[Ints]:
    layers: int | None = None
    for path in files:
        with open_arrays(path) as arrays:
            ids = plain(field(path, arrays, "expert_ids"))
            offsets = plain(field(path, arrays, "request_offsets"))
        try:
            steps = serving_steps(ids, offsets, batch, experts=experts, seed=seed)
        except ValueError as error:
            raise FileError(path, str(error)) from None
        layers = layers or steps.shape[1]
        if steps.shape[1] != layers:
            raise FileError(
                path,
                f"expert_ids has {steps.shape[1]} layers, {files[0].name} {layers}",
            )
        yield steps
