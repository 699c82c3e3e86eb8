"""Which solver ``"auto"`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemopt.run import registry

if TYPE_CHECKING:
    from gemopt.model.instance import Instance

SEARCH, EXACT = "search", "exact"
EXACT_SECONDS = 10.0  #: limits from here on are long enough to wait for a proof
INSTANT_SECONDS = 0.02  #: a proof this quick is awaited whatever the limit
EXACT_EXPERTS = 32  #: beyond, no proof is expected in a time limit that people use
INSTANT_EXPERTS = 12  #: beyond, the answer may depend on the number of threads


def choose(instance: Instance, time_limit: float | None) -> str:
    """Name the solver for `instance`.

    The exact one where it is installed and expects to end with a proof: in the time
    given, or at once. (Between, a limit of iterations alone promises the same answer
    on every machine, which a proof under a clock cannot.)
    """
    patient = time_limit is not None and time_limit >= EXACT_SECONDS
    seconds = time_limit if patient else INSTANT_SECONDS
    most = EXACT_EXPERTS if patient else INSTANT_EXPERTS
    entry = registry.entries().get(EXACT)
    if entry is None or not entry.installed or instance.num_experts > most:
        return SEARCH
    exact: Any = entry.load()
    return EXACT if exact.expects_proof(instance, seconds) else SEARCH
