"""Serving engines: their traces in, their expert maps in and out.

An engine is a package in the entry-point group ``gemopt.engines``; its modules are
imported when they are used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemopt.engines import registry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from gemopt.engines.mapping import EngineMap
    from gemopt.engines.source import TraceSource
    from gemopt.engines.stream import ImportedTrace
    from gemopt.model.placement import Placement


def open_trace(engine: str, path: str | Path, **options: Any) -> "TraceSource":
    """Open what an engine recorded; nothing much is read yet.

    Parameters
    ----------
    engine
        A name of `gemopt.engines.registry.engines`, ours or a third party's.
    path
        File or folder.
    options
        Options of that engine's `open_trace`; None means not given.

    Raises
    ------
    ValueError
        Unknown engine or option; `FileError` for what is wrong with a file.
    OSError
        A file cannot be read.
    """
    opener = registry.function(engine, "trace", "open_trace")
    source: TraceSource = opener(Path(path), **registry.taken(engine, opener, options))
    return source


def import_trace(
    engine: str, path: str | Path, output: str | Path, **options: Any
) -> "ImportedTrace":
    """Turn what an engine recorded into a trace file, in bounded memory.

    Parameters and errors as `open_trace`; `output` is the file to write.
    """
    from gemopt.engines.stream import write_trace

    return write_trace(open_trace(engine, path, **options), output)


def import_map(engine: str, path: str | Path, **options: Any) -> "EngineMap":
    """Read an engine's expert map.

    Options are `gpus`, which most files do not say, and `layer_ids`. Errors as
    `open_trace`.
    """
    reader = registry.function(engine, "map", "read_map")
    taken = registry.taken(engine, reader, options)
    if "gpus" not in taken and registry.needs(reader, "gpus"):
        raise ValueError(f"{path}: {engine} maps do not say the GPUs; give gpus")
    mapping: EngineMap = reader(Path(path), **taken)
    return mapping


def export_map(
    engine: str,
    placement: "Placement",
    path: str | Path,
    *,
    layer_ids: "ArrayLike | None" = None,
    **options: Any,
) -> None:
    """Write a placement as an engine's expert map.

    Parameters
    ----------
    engine
        A name of `gemopt.engines.registry.engines`.
    placement
        The placement.
    path
        Target.
    layer_ids
        Index of each layer in the model; None means 0, 1, 2...
    options
        Options of that engine's `write_map`; None means not given.

    Raises
    ------
    ValueError
        The engine would refuse the map, and why; or an unknown engine or option.
    OSError
        The file cannot be written.
    """
    from gemopt.engines.mapping import engine_map

    writer = registry.function(engine, "map", "write_map")
    taken = registry.taken(engine, writer, options)
    writer(engine_map(engine, placement, layer_ids), Path(path), **taken)
