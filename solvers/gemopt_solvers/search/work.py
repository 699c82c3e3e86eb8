"""How much work a stage does, in iterations, never in seconds."""

from gemopt_solvers.search.state.windows import WINDOWS

MANY = 32.0  #: GPUs above which the work of a descent grows
FEW = 8.0  #: experts on a GPU below which windows are searched harder
#: Windows are made finer where experts are few, up to this many times experts.
WINDOW_CELLS = WINDOWS * 256


def pairs_tried(work: float, gpus: int, slots: int, steps: int) -> int:
    """Pairs of GPUs that a descent may try in `work` nanoseconds, roughly.

    There is more work where there are many pairs, so that each has its turn.
    """
    held = slots / gpus
    each = 300.0 + held * held + (held / 4 + 1.0 + gpus / 16) * steps
    return int(work * max(1.0, gpus / MANY) ** 2 / each)


def window_pairs_tried(work: float, gpus: int, slots: int, windows: int) -> int:
    """The same on windows; more where a GPU holds few experts.

    There a single expert makes the maximum, which sums of squares do not see.
    """
    few = max(1.0, FEW / (slots / gpus)) ** 4
    return pairs_tried(work * few, gpus, slots, windows)
