"""How much work each preset does, in iterations, never in seconds."""

from dataclasses import dataclass

from solvers.search.windows import WINDOWS

#: Windows are made finer where experts are few, up to this many times experts.
WINDOW_CELLS = WINDOWS * 256


@dataclass(frozen=True)
class Preset:
    """Effort of the search of one layer.

    Attributes
    ----------
    z
        Standard deviations by which copies are dealt; the best of several is kept.
    sweeps
        Sweeps of the quadratic descent.
    tries
        Exchanges evaluated for each pair of GPUs.
    window_work, step_work
        Nanoseconds, roughly, for the descent on windows and that on all steps.
    proposals
        Proposals of annealing in a round where a layer is large.
    small
        Work of annealing in a round where a layer is small: proposals are as many as
        this over (steps + 16), if that is more.
    rounds
        Rounds of annealing, each from the best placement so far.
    hot, cold
        Temperatures of annealing, as parts of the mean latency of a step.
    """

    z: tuple[float, ...]
    sweeps: int
    tries: int
    window_work: float
    step_work: float
    proposals: int = 0
    small: float = 0.0
    rounds: int = 0
    hot: float = 0.05
    cold: float = 0.004

    def looks(self, work: float, gpus: int, slots: int, steps: int) -> int:
        """Pairs of GPUs that a descent may look at for `work` nanoseconds."""
        held = slots / gpus
        each = 300.0 + held * held + (held / 4 + 1.0 + gpus / 16) * steps
        return int(work / each)


PRESETS = {
    "fast": Preset(z=(8.0,), sweeps=2, tries=4, window_work=1e5, step_work=3e5),
    "default": Preset(
        z=(4.0, 8.0, 16.0), sweeps=3, tries=4, window_work=3e5, step_work=5e6,
        small=2e6, rounds=4,
    ),
    "best": Preset(
        z=(4.0, 8.0, 16.0), sweeps=20, tries=8, window_work=1e7, step_work=1e8,
        proposals=60_000, small=2e7, rounds=5,
    ),
}  # fmt: skip
