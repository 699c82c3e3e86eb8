"""When a proposal is accepted: how much worse it may be.

A rule is a number that `Anneal` names; to add one, give it the next number here.
(Functions as arguments of kernels would be compiled anew in every process: numba does
not keep them on disk.)
"""

from gemopt.jit import kernel

METROPOLIS = 0  #: worse by d with probability exp(-d / heat)
THRESHOLD = 1  #: worse by at most the heat
DOWNHILL = 2  #: never worse


@kernel
def allowance(rule: int, heat: float, patience: float) -> float:
    """Return what a proposal may cost more, us.

    Parameters
    ----------
    rule
        One of the constants above.
    heat
        Temperature now, us.
    patience
        A standard exponential random number.
    """
    if rule == METROPOLIS:
        return heat * patience
    if rule == THRESHOLD:
        return heat
    return 0.0
