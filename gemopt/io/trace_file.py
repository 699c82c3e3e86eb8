"""Routing traces as safetensors files: what import and generate write, build reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.io.atomic import write_bytes
from gemopt.io.errors import FileError
from gemopt.io.json_text import compact
from gemopt.io.schema import check_header
from gemopt.routing import RoutingTrace

FORMAT = "gemopt-trace"
VERSION = 1
SUFFIX = ".trace.safetensors"
# One key: the order of several keys in a safetensors header is not fixed.
_HEADER_KEY = "gemopt"


def save_trace(trace: RoutingTrace, path: str | Path) -> None:
    """Write `trace` to a safetensors file, by custom ``NAME.trace.safetensors``.

    Tensors: `counts` ``[steps, layers, experts]`` in the smallest unsigned type that
    holds them, `layer_ids` int64 ``[layers]``, and `weights` float64 ``[steps]`` unless
    all are 1. The header holds format, version, name and provenance. The same trace
    gives the same bytes.

    Raises
    ------
    ValueError
        Provenance that JSON cannot hold.
    OSError
        The file cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {
        "counts": narrow(trace.counts),
        "layer_ids": np.ascontiguousarray(trace.layer_ids),
    }
    if (trace.weights != 1).any():
        tensors["weights"] = np.ascontiguousarray(trace.weights)
    header = {"name": trace.name, "provenance": dict(trace.provenance)}
    write_bytes(path, tensor_bytes(tensors, FORMAT, VERSION, header))


def load_trace(path: str | Path) -> RoutingTrace:
    """Read a routing trace.

    Raises
    ------
    FileError
        Not a safetensors file, another format, a missing tensor, or counts that are
        negative, not whole or none at all.
    OSError
        The file cannot be read.
    """
    file = Path(path)
    header, tensors = read_tensors(file, FORMAT, VERSION)
    for name in ("counts", "layer_ids"):
        if name not in tensors:
            raise FileError(file, f"tensor {name} is missing")
    try:
        return RoutingTrace.from_arrays(
            tensors["counts"],
            layer_ids=tensors["layer_ids"],
            weights=tensors.get("weights"),
            name=str(header.get("name", "")),
            provenance=header.get("provenance") or {},
        )
    except ValueError as error:
        raise FileError(file, str(error)) from error


def narrow(counts: NDArray[np.int64]) -> NDArray[Any]:
    """Copy `counts` (all >= 0) to the smallest unsigned type that holds them."""
    return np.ascontiguousarray(counts, dtype=np.min_scalar_type(int(counts.max())))


def tensor_bytes(
    tensors: dict[str, NDArray[Any]],
    format_name: str,
    version: int,
    header: dict[str, Any],
) -> bytes:
    """Serialise tensors and a header of ours, the same bytes every time."""
    from safetensors.numpy import save

    text = compact({"format": format_name, "version": version, **header})
    return bytes(save(tensors, metadata={_HEADER_KEY: text}))


def read_tensors(
    path: Path, format_name: str, version: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and tensors of a safetensors file of ours.

    Raises
    ------
    FileError
        Not a safetensors file, or not of this format and version.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb"):  # a plain OSError when it cannot be read
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FileError(path, f"is no safetensors file: {error}") from None
    try:
        header = json.loads(metadata.get(_HEADER_KEY, "{}"))
    except json.JSONDecodeError as error:
        raise FileError(path, f"header {_HEADER_KEY} is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise FileError(path, f"header {_HEADER_KEY} is no JSON object")
    check_header(path, header, format_name, version)
    return header, tensors
