"""Implementations of the expert layer, one a file, by name."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemopt_gpu_bench.backends.base import Backend
    from gemopt_gpu_bench.backends.tiles import TileTable

NAMES = ("triton", "grouped_mm", "loop")


def default(device_type: str) -> str:
    """Name of the backend to profile on a kind of device when none is asked for."""
    if device_type == "cpu":
        return "loop"
    return "triton" if find_spec("triton") is not None else "grouped_mm"


def make(name: str, *, table: "TileTable | None" = None) -> "Backend":
    """Build the backend `name`.

    Parameters
    ----------
    name
        One of `NAMES`.
    table
        Tiles, for backends that take them.

    Raises
    ------
    ValueError
        Unknown name, or something that it needs is missing.
    """
    if name == "triton":
        from gemopt_gpu_bench.backends.triton_grouped import TritonGrouped

        return TritonGrouped(table)
    if name == "grouped_mm":
        from gemopt_gpu_bench.backends.grouped_mm import GroupedMm

        return GroupedMm()
    if name == "loop":
        from gemopt_gpu_bench.backends.loop import Loop

        return Loop()
    raise ValueError(f"backend {name!r} is unknown; known: {', '.join(NAMES)}")
