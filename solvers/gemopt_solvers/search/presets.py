"""How much work each preset does, in iterations, never in seconds."""

from dataclasses import dataclass, replace

from gemopt_solvers.search.state.windows import WINDOWS

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
        Least proposals of a round of annealing.
    anneal_work
        Proposals of a round times slots times steps, where that gives more and...
    anneal_slots
        ...a layer has no more slots than this.
    entries
        Resampled steps, times experts, on which placements are compared; 0 for the
        steps of the trace.
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
    anneal_work: float = 0.0
    anneal_slots: int = 10**9
    entries: int = 0
    rounds: int = 0
    hot: float = 0.05
    cold: float = 0.004

    def looks(self, work: float, gpus: int, slots: int, steps: int) -> int:
        """Pairs of GPUs that a descent may look at for `work` nanoseconds.

        There is more work where there are many pairs, so that each has its turn.
        """
        held = slots / gpus
        each = 300.0 + held * held + (held / 4 + 1.0 + gpus / 16) * steps
        return int(work * max(1.0, gpus / MANY) ** 2 / each)

    def cells(self, experts: int) -> int:
        """Resampled steps on which placements are compared; 0 for the trace itself."""
        return min(self.entries // experts, MOST_CELLS)

    def window_looks(self, gpus: int, slots: int, windows: int) -> int:
        """The same on windows; more where a GPU holds few experts.

        There a single expert makes the maximum, which sums of squares do not see.
        """
        few = max(1.0, FEW / (slots / gpus)) ** 4
        return self.looks(self.window_work * few, gpus, slots, windows)

    def proposals_a_round(self, slots: int, steps: int) -> int:
        """Proposals of a round of annealing of one layer; 0 for no annealing."""
        scaled = int(self.anneal_work / (slots * (max(steps, 4 * slots) + 16)))
        wanted = max(self.proposals, scaled if slots <= self.anneal_slots else 0)
        return min(wanted, MOST_REPEATS * slots**2)


MANY = 32.0  #: GPUs above which the work of a descent grows
MOST_CELLS = 2048
MOST_REPEATS = 500  #: proposals of a pair of slots in one round, at most
FEW = 8.0  #: experts on a GPU below which windows are searched harder

PRESETS = {
    "fast": Preset(z=(8.0,), sweeps=2, tries=4, window_work=8e4, step_work=3e5),
    "default": Preset(
        z=(8.0,), sweeps=2, tries=4, window_work=1e5, step_work=2.2e6,
        anneal_work=1.2e8, anneal_slots=160, rounds=4, entries=2**16,
    ),
    "best": Preset(
        z=(4.0, 8.0, 16.0), sweeps=20, tries=8, window_work=1e7, step_work=1e8,
        proposals=6_500, anneal_work=1.9e9, rounds=5, entries=2**18,
    ),
}  # fmt: skip
_BEST = PRESETS["best"]
#: Seconds a layer, for the cost of the given steps against a bound.
PRESETS["long"] = replace(
    _BEST, proposals=100 * _BEST.proposals, anneal_work=100 * _BEST.anneal_work
)
