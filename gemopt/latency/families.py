"""Latency families of other packages, through the entry-point group ``gemopt.latency``.

An entry point's name is the `kind` of the family in files, its value the class:

    [project.entry-points."gemopt.latency"]
    my_family = "my_package.latency:MyFamily"

The class derives from `gemopt.latency.LatencyModel`, as a frozen dataclass, and gives
`us`, `rows`, `to_json` and `from_json`; with a static method ``fit(counts, us, tile)``
``gemopt profile`` tries it too.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from gemopt.latency.base import LatencyModel

GROUP = "gemopt.latency"
BUILT_IN = ("token_curve", "tile_active", "roofline", "regimes")


@cache
def third_party() -> dict[str, EntryPoint]:
    """Families of other packages by the name that files know them by, sorted."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in points if point.name not in BUILT_IN}


def family(kind: str) -> type[LatencyModel]:
    """Import the class of a third party's family.

    Raises
    ------
    ValueError
        No such family, or one that cannot be imported or is no latency model.
    """
    point = third_party().get(kind)
    if point is None:
        known = ", ".join([*BUILT_IN, *third_party()])
        raise ValueError(f"kind = {kind!r} is unknown; known: {known}")
    try:
        found = point.load()
    except Exception as error:  # whatever a foreign module does on import
        raise ValueError(
            f"kind = {kind!r}: {point.value} cannot be imported: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, LatencyModel)):
        raise ValueError(f"kind = {kind!r}: {point.value} is no LatencyModel class")
    return found


def usable() -> dict[str, type[LatencyModel]]:
    """Classes of all families of other packages, without those that do not load."""
    found = {}
    for kind in third_party():
        try:
            found[kind] = family(kind)
        except ValueError as error:
            logging.getLogger(__name__).warning("latency family left out: %s", error)
    return found


def kind_of(model: LatencyModel) -> str:
    """Name by which files know the class of `model`, of a third party.

    Raises
    ------
    ValueError
        No entry point names the class.
    """
    name = f"{type(model).__module__}:{type(model).__qualname__}"
    for kind, point in third_party().items():
        if point.value.replace(" ", "") == name:
            return kind
    for kind, each in usable().items():  # named by where it is exported again
        if each is type(model):
            return kind
    raise ValueError(
        f"latency model {type(model).__name__} has no document form: name {name} in "
        f"the entry-point group {GROUP}"
    )
