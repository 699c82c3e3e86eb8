"""Solvers by name: a lazy table of our own and an entry-point group for others."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, cast

from gemopt.run.solver import Solver
from gemopt.words import did_you_mean

GROUP = "gemopt.solvers"


@dataclass(frozen=True)
class Entry:
    """Where a solver lives and which packages it needs."""

    name: str
    target: str  #: "module:attribute"
    requires: tuple[str, ...] = ()
    origin: str = "gemopt"  #: distribution that brings it
    extra: str = ""  #: of our distribution, installs what it needs

    @property
    def installed(self) -> bool:
        """Tell whether the packages it needs are there, without importing them."""
        return all(find_spec(package) is not None for package in self.requires)

    def load(self) -> type[Solver]:
        """Import the solver class.

        Raises
        ------
        ValueError
            A package that it needs is missing.
        """
        missing = [name for name in self.requires if find_spec(name) is None]
        if missing:
            hint = f"; pip install 'gemopt[{self.extra}]'" if self.extra else ""
            raise ValueError(
                f"solver {self.name} needs {', '.join(missing)}, which is not "
                f"installed{hint}"
            )
        module, _, attribute = self.target.partition(":")
        return cast("type[Solver]", getattr(import_module(module), attribute))


_BUILT_IN = (
    Entry("linear", "gemopt_solvers.linear:Linear"),
    Entry("random", "gemopt_solvers.random:Random"),
    Entry("lpt", "gemopt_solvers.lpt:Lpt"),
    Entry("eplb", "gemopt_solvers.eplb:Eplb"),
    Entry("gem", "gemopt_solvers.gem:Gem"),
    Entry("meancov", "gemopt_solvers.meancov:MeanCov"),
    Entry("search", "gemopt_solvers.search:Search"),
    Entry("cluster", "gemopt_solvers.cluster:Cluster", ("sklearn", "networkx")),
    Entry("grace", "gemopt_solvers.grace:Grace", ("sklearn", "networkx")),
    Entry("moetuner", "gemopt_solvers.moetuner:Moetuner", ("ortools",)),
    Entry("exact", "gemopt_solvers.exact.solver:Exact", ("ortools",)),
    Entry("bnb", "gemopt_solvers.exact.sets.solver:Bnb"),
    Entry("lpbb", "gemopt_solvers.exact.lp.solver:Lpbb"),
    Entry("cpsat", "gemopt_solvers.exact.rows.cpsat:Cpsat", ("ortools",)),
    Entry("milp", "gemopt_solvers.exact.rows.milp:Milp", ("highspy",), extra="milp"),
)


@cache
def entries() -> dict[str, Entry]:
    """All known solvers by name; ours win over third parties' of the same name."""
    found = {point.name: _third_party(point) for point in entry_points(group=GROUP)}
    return {**found, **{entry.name: entry for entry in _BUILT_IN}}


def _third_party(point: EntryPoint) -> Entry:
    origin = point.dist.name if point.dist is not None else "unknown"
    return Entry(point.name, point.value, origin=origin)


def solvers() -> list[str]:
    """Names of all registered solvers, sorted; ``auto`` picks among them."""
    return sorted(entries())


def entry(name: str) -> Entry:
    """Look a solver up.

    Raises
    ------
    ValueError
        No such solver; the message names the nearest one.
    """
    known = entries()
    if name not in known:
        hint = did_you_mean(name, known) or ";"
        names = ", ".join(sorted(known))
        raise ValueError(f"solver {name!r} is unknown{hint} known: auto, {names}")
    return known[name]


def params(name: str) -> type[Any]:
    """Options of a solver: a frozen dataclass, for ``solve(..., params=...)``.

    Raises
    ------
    ValueError
        No such solver, or a package that it needs is missing.
    """
    return entry(name).load().Params


def params_named(name: str) -> type[Any] | None:
    """Options class by its own name, such as ``SearchParams``; None without one."""
    solver = entries().get(name.removesuffix("Params").lower())
    if solver is None or not solver.installed:
        return None
    found = solver.load().Params
    return found if found.__name__ == name else None
