"""Routing traces as safetensors files: what import and generate write, build reads."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.files.atomic import write_bytes
from gemopt.files.errors import FileError
from gemopt.files.tensors import read_tensors, tensor_bytes
from gemopt.model.trace import RoutingTrace

FORMAT = "gemopt-trace"
VERSION = 1
SUFFIX = ".trace.safetensors"


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
