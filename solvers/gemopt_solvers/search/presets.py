"""The lists of stages, one a preset."""

from dataclasses import dataclass
from typing import Any

from gemopt_solvers.search.stages import (
    Adopt,
    Anneal,
    BestOf,
    Deal,
    Exchanges,
    Greedy,
    Quadratic,
    Restart,
    Stage,
    WindowExchanges,
)

MOST_STEPS = 2048  #: resampled


@dataclass(frozen=True)
class Preset:
    """What is done with a layer.

    Attributes
    ----------
    first
        Stages of the first round.
    again
        Stages of each later round, from the best placement so far.
    rounds
        Later rounds.
    entries
        Resampled steps, times experts, on which placements are compared; 0 for the
        steps of the trace.
    """

    first: tuple[Stage, ...]
    again: tuple[Stage, ...] = ()
    rounds: int = 0
    entries: int = 0

    def resampled_steps(self, experts: int) -> int:
        """Resampled steps on which placements are compared; 0 for the trace itself."""
        return min(self.entries // experts, MOST_STEPS)

    def later_rounds(self, slots: int, steps: int) -> int:
        """Rounds after the first that have something to propose."""
        proposals = [
            stage.proposals_a_round(slots, steps)
            for stage in self.again
            if isinstance(stage, Anneal)
        ]
        return self.rounds if any(proposals) else 0


def preset(
    *,
    z: tuple[float, ...],
    sweeps: int,
    tries: int,
    window_work: float,
    step_work: float,
    anneal: Anneal | None = None,
    rounds: int = 0,
    entries: int = 0,
) -> Preset:
    """Make the usual list of stages.

    Parameters
    ----------
    z
        Standard deviations by which copies are dealt; the best of several is kept.
    sweeps
        Sweeps of the quadratic exchanges.
    tries
        Exchanges evaluated for each pair of GPUs.
    window_work, step_work
        Nanoseconds, roughly, for the exchanges on windows and those on all steps.
    anneal, rounds, entries
        Later rounds, and on what steps placements are compared; see `Preset`.
    """
    exchanges = Exchanges(step_work, tries)
    ways = tuple(
        (
            Deal(one),
            Greedy(),
            Quadratic(sweeps),
            WindowExchanges(window_work, tries),
            Adopt(),
        )
        for one in z
    )
    again: tuple[Stage, ...] = ()
    if anneal is not None:
        again = (Restart(statistics=True), anneal, Restart(), exchanges)
    return Preset((BestOf(ways), exchanges), again, rounds, entries)


#: Inside an engine's loop.
FAST: dict[str, Any] = {
    "z": (8.0,), "sweeps": 2, "tries": 4, "window_work": 8e4, "step_work": 3e5,
}  # fmt: skip
DEFAULT: dict[str, Any] = FAST | {
    "window_work": 1e5, "step_work": 2.2e6, "anneal": Anneal(work=1.2e8, slots=160),
    "rounds": 4, "entries": 2**16,
}  # fmt: skip
#: Offline.
BEST: dict[str, Any] = {
    "z": (4.0, 8.0, 16.0), "sweeps": 20, "tries": 8, "window_work": 1e7,
    "step_work": 1e8, "anneal": Anneal(proposals=6_500, work=1.9e9), "rounds": 5,
    "entries": 2**18,
}  # fmt: skip
#: Seconds a layer, for the cost of the given steps against a bound.
LONG = BEST | {"anneal": Anneal(proposals=650_000, work=1.9e11)}

PRESETS = {
    "fast": preset(**FAST),
    "default": preset(**DEFAULT),
    "best": preset(**BEST),
    "long": preset(**LONG),
}
