"""What a solver is. Third parties implement `Solver` and register an entry point."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from gemopt.run.stop import StopReason
from gemopt.words import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from gemopt.arrays import Floats, Ints
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.progress import Monitor


@dataclass(frozen=True)
class Outcome:
    """What a solver hands back; the front door recomputes every claim.

    Attributes
    ----------
    placement
        Best placement found, or None.
    stop_reason
        Why the solver ended.
    lower_bound
        Proven lower bound in us, -inf when none.
    infeasible
        True if the solver proved that no placement exists.
    iterations
        Iterations done.
    stats
        JSON-able facts about the run.
    """

    placement: Placement | None
    stop_reason: StopReason = StopReason.FINISHED
    lower_bound: float = -math.inf
    infeasible: bool = False
    iterations: int = 0
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoParams:
    """Params of a solver that has no options."""


class Solver(Protocol):
    """A search strategy.

    ``__init__`` takes a frozen `Params` value and only stores it; options are checked
    in the `Params` class. `solve` must poll ``monitor.stop_reason(iteration)``, report
    every improvement with ``monitor.improved``, draw randomness only from
    ``numpy.random.Generator`` objects made from `seed`, give the same answer for
    every `jobs`, and change nothing in the instance.
    """

    name: ClassVar[str]  #: as in `gemopt.solve(instance, name)`
    summary: ClassVar[str]  #: one line for `gemopt solvers`
    exact: ClassVar[bool]  #: can prove optimality
    Params: ClassVar[type[Any]]  #: frozen dataclass of options

    def __init__(self, params: Any) -> None: ...

    def supports(self, instance: Instance) -> str | None:
        """Return why the solver cannot take `instance`, or None if it can."""
        ...

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Search until the monitor says stop or the method ends."""
        ...


class PlacesArrays(Protocol):
    """Optional of a solver: place plain arrays at once, fast enough for an engine."""

    @staticmethod
    def place_arrays(
        counts: ArrayLike,
        slots: Ints,
        *,
        base_us: Floats,
        us_per_token: Floats,
        start: Ints | None = None,
        max_moves: int | None = None,
    ) -> Ints:
        """Place all layers where latency is a line in tokens.

        Parameters
        ----------
        counts
            Token-expert assignments, int64 ``[steps, layers, experts]``.
        slots
            Slots of each GPU, int64 ``[gpus]``.
        base_us, us_per_token
            Latency of each GPU, float64 ``[gpus]``.
        start
            Feasible placement now, int64 ``[layers, slots]``; needs `max_moves`.
        max_moves
            With a start: most slots, of all layers together, that may take an expert
            new to their GPU.

        Returns
        -------
        numpy.ndarray
            Expert of each slot, int64 ``[layers, slots]``.
        """
        ...


def make_params(solver: type[Solver], params: Any) -> Any:
    """Turn None, a mapping or a ready `Params` value into the solver's `Params`.

    Raises
    ------
    ValueError
        A key that the solver does not know, with the nearest one; or a value that
        its `Params` class refuses.
    """
    if params is None:
        return solver.Params()
    if isinstance(params, solver.Params):
        return params
    if not isinstance(params, Mapping):
        raise ValueError(
            f"params = {params!r} must be a mapping or {solver.Params.__name__}"
        )
    known = [f.name for f in dataclasses.fields(solver.Params)]
    for key in params:
        if key not in known:
            hint = did_you_mean(str(key), known)
            options = ", ".join(known) or "none"
            raise ValueError(
                f"solver {solver.name} has no parameter {key!r}{hint}; known: {options}"
            )
    try:
        return solver.Params(**params)
    except TypeError as error:
        raise ValueError(f"solver {solver.name}: {error}") from error
