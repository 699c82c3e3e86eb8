"""Which engines there are: one package each, ours and third parties'.

The package of an engine has the modules ``trace`` (what it recorded) and ``map`` (its
expert maps), or one of them; their functions' own arguments are the engine's options.
"""

import inspect
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, NamedTuple

from gemopt.words import did_you_mean

GROUP = "gemopt.engines"

#: Engine to package. The same stands in pyproject.toml, for others to find; what is
#: installed may be older than this file, so ours are read from here.
BUILT_IN = {
    "sglang": "gemopt.engines.sglang",
    "tokens": "gemopt.engines.tokens",
    "trtllm": "gemopt.engines.trtllm",
    "vllm": "gemopt.engines.vllm",
    "vllm-ascend": "gemopt.engines.ascend",
}


class Engine(NamedTuple):
    """An engine: its name, its package, and who brings it."""

    name: str
    package: str
    origin: str = "gemopt"

    def has(self, module: str) -> bool:
        """Whether its package has that module."""
        try:
            return find_spec(f"{self.package}.{module}") is not None
        except Exception:  # someone else's package: it may raise anything
            return False

    def function(self, module: str, name: str) -> Callable[..., Any]:
        """Import a function of one of its modules.

        Raises
        ------
        ValueError
            A third party's package cannot be imported, or lacks the function.
        """
        try:
            function = getattr(import_module(f"{self.package}.{module}"), name)
        except Exception as error:
            if self.origin == "gemopt":
                raise
            raise ValueError(
                f"engine {self.name!r} of {self.origin} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
        found: Callable[..., Any] = function
        return found


@cache
def engines() -> dict[str, Engine]:
    """All engines by name; ours win over third parties' of the same name."""
    found = {point.name: _third_party(point) for point in entry_points(group=GROUP)}
    return {**found, **{name: Engine(name, each) for name, each in BUILT_IN.items()}}


def _third_party(point: EntryPoint) -> Engine:
    origin = point.dist.name if point.dist is not None else "unknown"
    return Engine(point.name, point.value, origin)


def function(engine: str, module: str, name: str) -> Callable[..., Any]:
    """Look up a function of an engine.

    Raises
    ------
    ValueError
        No such engine, or it has no such module; the message names the nearest one.
    """
    known = engines()
    if engine not in known or not known[engine].has(module):
        there = [each for each, one in known.items() if one.has(module)]
        hint = did_you_mean(engine, there) or ";"
        raise ValueError(
            f"engine {engine!r} is unknown here{hint} known: {', '.join(sorted(there))}"
        )
    return known[engine].function(module, name)


def taken(
    engine: str, function: Callable[..., Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Options that were given, all of which `function` must take.

    Raises
    ------
    ValueError
        One is no option of this engine.
    """
    given = {name: value for name, value in options.items() if value is not None}
    known = inspect.signature(function).parameters
    for name, value in given.items():
        if name not in known:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} = {value} is no option of {engine} here")
    return given


def needs(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of that name without a default."""
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty
