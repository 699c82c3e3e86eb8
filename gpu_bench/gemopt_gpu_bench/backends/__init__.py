"""Implementations of the expert layer, one a file: a new one is a file and a row."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemopt_gpu_bench.backends.base import Backend
    from gemopt_gpu_bench.backends.tiles import TileTable


@dataclass(frozen=True)
class Entry:
    """One backend, known without loading it.

    Attributes
    ----------
    module, class_name
        Where it is; the module lies in this folder.
    tiled
        It takes a table of tiles, whose boundaries are then known.
    needs_gpu
        It does not run on the CPU.
    """

    module: str
    class_name: str
    tiled: bool = False
    needs_gpu: bool = False


ENTRIES = {
    "triton": Entry("triton_grouped", "TritonGrouped", tiled=True, needs_gpu=True),
    "grouped_mm": Entry("grouped_mm", "GroupedMm"),
    "loop": Entry("loop", "Loop"),
}
NAMES = tuple(ENTRIES)
USUAL = "triton"  #: what profiles of GPUs are made with unless they say otherwise


def default(device_type: str) -> str:
    """Name of the backend to profile on a kind of device when none is asked for."""
    if device_type == "cpu":
        return "loop"
    return USUAL if find_spec("triton") is not None else "grouped_mm"


def entry(name: str) -> Entry:
    """Look a backend up.

    Raises
    ------
    ValueError
        Unknown name.
    """
    if name not in ENTRIES:
        raise ValueError(f"backend {name!r} is unknown; known: {', '.join(NAMES)}")
    return ENTRIES[name]


def table_for(
    name: str, shape: tuple[int, int, int], table: "TileTable | None" = None
) -> "TileTable | None":
    """Tiles of a backend for (hidden, intermediate, experts): `table` or known ones.

    None for a backend without tiles.
    """
    if not entry(name).tiled:
        return None
    from gemopt_gpu_bench.backends.tiles import known_table

    return table or known_table(*shape)


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
    found = entry(name)
    module = import_module(f"gemopt_gpu_bench.backends.{found.module}")
    make_backend: Any = getattr(module, found.class_name)
    backend: Backend = make_backend(table) if found.tiled else make_backend()
    return backend
