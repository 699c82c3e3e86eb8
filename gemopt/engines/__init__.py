"""Serving engines: their traces in, their expert maps in and out.

An engine is a name in the tables below; its module is imported when it is used.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from gemopt.engines.mapping import EngineMap
    from gemopt.engines.source import TraceSource
    from gemopt.engines.stream import ImportedTrace
    from gemopt.model.placement import Placement

#: Engine to module with ``open_trace(path, *, options) -> TraceSource``.
TRACES: Mapping[str, str] = {
    "sglang": "gemopt.engines.sglang.trace",
    "tokens": "gemopt.engines.tokens",
    "trtllm": "gemopt.engines.trtllm.trace",
    "vllm": "gemopt.engines.vllm.trace",
    "vllm-ascend": "gemopt.engines.ascend.trace",
}
#: Engine to module with ``read_map`` and ``write_map``.
MAPS: Mapping[str, str] = {
    "sglang": "gemopt.engines.sglang.map",
    "trtllm": "gemopt.engines.trtllm.map",
    "vllm": "gemopt.engines.vllm.map",
    "vllm-ascend": "gemopt.engines.ascend.map",
}


def open_trace(engine: str, path: str | Path, **options: Any) -> "TraceSource":
    """Open what an engine recorded; nothing much is read yet.

    Parameters
    ----------
    engine
        A key of `TRACES`.
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
    opener = _function(TRACES, engine, "open_trace")
    source: TraceSource = opener(Path(path), **_taken(engine, opener, options))
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
    reader = _function(MAPS, engine, "read_map")
    taken = _taken(engine, reader, options)
    if "gpus" not in taken and engine != "vllm-ascend":
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
        A key of `MAPS`.
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

    writer = _function(MAPS, engine, "write_map")
    taken = _taken(engine, writer, options)
    writer(engine_map(engine, placement, layer_ids), Path(path), **taken)


def _function(table: Mapping[str, str], engine: str, name: str) -> Callable[..., Any]:
    if engine not in table:
        near = difflib.get_close_matches(engine, table, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"engine {engine!r} is unknown here; {hint}known: {', '.join(table)}"
        )
    function: Callable[..., Any] = getattr(import_module(table[engine]), name)
    return function


def _taken(
    engine: str, function: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options that were given, all of which `function` must take."""
    given = {name: value for name, value in options.items() if value is not None}
    known = inspect.signature(function).parameters
    for name, value in given.items():
        if name not in known:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} = {value} is no option of {engine} here")
    return given
