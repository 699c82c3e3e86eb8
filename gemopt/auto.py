"""Which solver ``"auto"`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemopt import registry
from gemopt.solver import make_params

if TYPE_CHECKING:
    from gemopt.model import Instance

SEARCH, EXACT = "search", "cpsat"
# What the exact solver proved optimal within seconds: up to 16 experts, 16 steps.
EXACT_EXPERTS, EXACT_CELLS, EXACT_SECONDS = 16, 256, 10.0


def choose(instance: Instance, time_limit: float | None) -> str:
    """Name the solver for `instance`.

    The exact one where it is installed, the caller gave it time enough (a limit of
    iterations alone promises the same answer on every machine, which a proof under a
    clock cannot), and the instance is as small as those it is known to prove.
    """
    entry = registry.entries().get(EXACT)
    small = (
        instance.num_layers == 1
        and instance.num_experts <= EXACT_EXPERTS
        and instance.num_experts * instance.num_steps <= EXACT_CELLS
    )
    timed = time_limit is not None and time_limit >= EXACT_SECONDS
    if entry is None or not (small and timed and entry.installed):
        return SEARCH
    exact = entry.load()
    refused = exact(make_params(exact, None)).supports(instance)
    return SEARCH if refused else EXACT
