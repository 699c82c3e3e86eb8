"""What `gemopt.solve` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any

from gemopt.run.improvements import Trace
from gemopt.run.stop import StopReason

if TYPE_CHECKING:
    from gemopt.model.placement import Placement

#: Relative distance below which bound and objective count as equal.
PROOF_TOLERANCE = 1e-6
_WORTH_SAYING = 0.05  #: seconds below which a part of the run is not mentioned


class Status(StrEnum):
    """What is known about the answer."""

    OPTIMAL = "optimal"  #: a placement whose objective equals a proven lower bound
    FEASIBLE = "feasible"  #: a placement
    INFEASIBLE = "infeasible"  #: proof that no placement exists
    NO_SOLUTION = "no_solution"  #: stopped with neither placement nor proof


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Answer of a run.

    Attributes
    ----------
    placement
        The best placement found, or None.
    objective
        Its cost in us, recomputed by `gemopt.evaluate`; inf without a placement.
    lower_bound
        Proven lower bound in us; -inf when none is known. Kept without a placement.
    status, stop_reason
        What is known, and why the run ended.
    seconds, iterations
        Wall time of the search, compiling left out, and its iterations.
    solver, seed
        Which solver ran, and with which seed.
    stats
        What the solver says about itself, JSON-able.
    trace
        Improvements in time order; empty when switched off.
    bound_seconds, compile_seconds
        Wall time of the bound after the search, and of compiling kernels, which a
        second run does not need.
    """

    placement: Placement | None
    objective: float
    lower_bound: float
    status: Status
    stop_reason: StopReason
    seconds: float
    iterations: int
    solver: str
    seed: int
    stats: Mapping[str, Any] = field(default_factory=dict)
    trace: Trace = field(default_factory=Trace)
    bound_seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def gap(self) -> float:
        """(objective - lower_bound) / objective; inf when either is unknown."""
        if not (math.isfinite(self.objective) and math.isfinite(self.lower_bound)):
            return math.inf
        if self.objective <= 0:
            return 0.0
        return max(0.0, (self.objective - self.lower_bound) / self.objective)

    @property
    def is_optimal(self) -> bool:
        """True if the objective equals a proven lower bound."""
        return self.status == Status.OPTIMAL

    def __repr__(self) -> str:
        return f"<Result {self.summary()}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(self.summary())}</code>"

    def summary(self) -> str:
        """One line for people: what was found, and how the time was spent."""
        if self.placement is None and math.isinf(self.objective):
            found = f"{self.status.replace('_', ' ')}"
        else:
            gap = f"{100 * self.gap:.2f} %" if math.isfinite(self.gap) else "unknown"
            found = f"{self.status} {self.objective:.6g} us, gap {gap}"
        work = f"{self.iterations} iterations in {self.seconds:.3f} s"
        if self.bound_seconds >= _WORTH_SAYING:
            work += f", bound {self.bound_seconds:.1f} s"
        if self.compile_seconds >= _WORTH_SAYING:
            work += f", compiling {self.compile_seconds:.1f} s"
        return f"{self.solver}: {found}, {work} ({self.stop_reason})"
