"""Routing from a file of any kind that `gemopt build` takes."""

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gemopt.files.errors import FileError
from gemopt.files.sha256 import file_sha256
from gemopt.files.trace_file import load_trace
from gemopt.model.expert_groups import check_groups
from gemopt.model.tokens import TokenRouting
from gemopt.model.trace import RoutingTrace

Arrays = dict[str, NDArray[Any]]


def read_routing(
    path: str | Path,
    *,
    batch: int | None = None,
    experts: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    layers_first: bool = False,
) -> RoutingTrace:
    """Read routing from a file.

    Parameters
    ----------
    path
        ``.safetensors``: a trace of ours. ``.npz``: either `counts`
        ``[steps, layers, experts]``, or `expert_ids` ``[tokens, layers, top_k]`` with
        either `step_offsets` ``[steps + 1]``, the steps as they were, or
        `request_offsets` ``[requests + 1]``, of which serving steps are made. By choice
        with `layer_ids` ``[layers]`` and, of `expert_ids`, the numbers `n_group` and
        `topk_group`, see `gemopt.model.expert_groups`.
    batch, steps, seed
        For `request_offsets`, where `batch` is needed: see
        `gemopt.traffic.serving_steps`.
    experts
        Experts of a layer, only for `expert_ids`; None means the largest id and one.
    layers_first
        `counts` of the ``.npz`` is ``[layers, steps, experts]``.

    Raises
    ------
    FileError, OSError
        Names the file, the array and the value that do not fit; or it cannot be read.
    """
    file = Path(path)
    if file.suffix == ".safetensors":
        _only_tokens(file, batch=batch, experts=experts, steps=steps)
        if layers_first:
            raise FileError(file, "says itself which axis is which; no --layers-first")
        return load_trace(file)
    if file.suffix != ".npz":
        raise FileError(file, f"ends in {file.suffix!r}, needs .npz or .safetensors")
    arrays = read_arrays(file)
    try:
        if "expert_ids" in arrays:
            if "counts" in arrays:
                raise ValueError("holds both counts and expert_ids; keep one of them")
            if layers_first:
                raise ValueError("expert_ids has tokens first; no --layers-first")
            tokens, counts, how = _served(arrays, batch, experts, steps, seed)
        else:
            _only_tokens(file, batch=batch, experts=experts, steps=steps)
            tokens, counts, how = None, _counts(arrays, layers_first), {}
        return RoutingTrace.from_arrays(
            counts,
            layer_ids=arrays.get("layer_ids"),
            name=file.stem,
            provenance={"trace": file.name, "trace_sha256": file_sha256(file), **how},
            tokens=tokens,
        )
    except ValueError as error:
        text = str(error).removeprefix(f"{file}: ")  # a FileError has it already
        raise FileError(file, text) from error


def _counts(arrays: Arrays, layers_first: bool) -> NDArray[Any]:
    if "counts" not in arrays:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise ValueError(f"holds {names}; needs counts or expert_ids")
    counts = arrays["counts"]
    return counts.transpose(1, 0, 2) if layers_first and counts.ndim == 3 else counts


def read_arrays(file: Path) -> Arrays:
    """Read all arrays of an ``.npz`` file; nothing is unpickled.

    Raises
    ------
    FileError
        Not such a file, cut short, or with Python objects inside.
    OSError
        The file cannot be read.
    """
    # Opened here: numpy leaves its own file open when the archive is broken.
    with file.open("rb") as stream:
        return _arrays(file, stream)


def _arrays(file: Path, stream: BinaryIO) -> Arrays:
    try:
        loaded = np.load(stream, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise FileError(file, "is one array, needs an .npz archive")
        with loaded as data:
            return {name: data[name] for name in data.files}
    except FileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise FileError(file, f"is no readable .npz file: {reason}") from None


def _served(
    arrays: Arrays,
    batch: int | None,
    experts: int | None,
    steps: int | None,
    seed: int,
) -> tuple[TokenRouting, NDArray[np.int64], dict[str, Any]]:
    from gemopt.traffic.serving import serving_tokens

    ids = arrays["expert_ids"]
    n_group, topk_group = (_number(arrays, key) for key in ("n_group", "topk_group"))
    if "step_offsets" in arrays:
        for option, value in (("batch", batch), ("steps", steps)):
            if value is not None:
                raise ValueError(
                    f"has its own steps (step_offsets); no --{option} = {value}"
                )
        tokens = TokenRouting.from_arrays(
            ids, arrays["step_offsets"], n_group=n_group, topk_group=topk_group
        )
        largest = int(ids.max()) + 1 if ids.size else 1
        if experts is not None and experts < largest:
            raise ValueError(
                f"expert_ids has id {largest - 1}, outside 0..{experts - 1}"
            )
        return tokens, tokens.counts(experts or largest), {}
    if "request_offsets" not in arrays:
        raise ValueError("request_offsets or step_offsets is missing beside expert_ids")
    if batch is None:
        raise ValueError(
            "holds per-token expert_ids; give --batch, the requests a step"
        )
    if experts is None:
        experts = int(ids.max()) + 1 if ids.size and ids.dtype.kind in "iu" else 1
    tokens = serving_tokens(
        ids, arrays["request_offsets"], batch, experts=experts, steps=steps, seed=seed
    )
    check_groups(n_group, topk_group)
    tokens = replace(tokens, n_group=n_group, topk_group=topk_group)
    facts = {"batch": batch, "serving_seed": seed}
    return tokens, tokens.counts(experts), facts


def _number(arrays: Arrays, name: str) -> int:
    """A whole number among the arrays; 1 if it is missing."""
    value = np.asarray(arrays.get(name, 1))
    if value.size != 1 or value.dtype.kind not in "iu":
        raise ValueError(f"{name} = {value.tolist()} must be one whole number")
    return int(value.item())


def _only_tokens(file: Path, **options: int | None) -> None:
    """Refuse options that only per-token routing has."""
    for name, value in options.items():
        if value is not None:
            raise FileError(
                file,
                f"holds counts of whole steps; --{name} = {value} is for expert_ids",
            )
