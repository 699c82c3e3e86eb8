"""Which solver ``"auto"`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemopt import registry

if TYPE_CHECKING:
    from gemopt.model import Instance

SEARCH, EXACT = "search", "exact"
EXACT_SECONDS = 10.0  #: shorter limits are for search
EXACT_EXPERTS = 24  #: beyond, no proof is expected in a time limit that people use


def choose(instance: Instance, time_limit: float | None) -> str:
    """Name the solver for `instance`.

    The exact one where it is installed, the caller gave it time enough (a limit of
    iterations alone promises the same answer on every machine, which a proof under a
    clock cannot), and it expects to end with a proof.
    """
    if time_limit is None or time_limit < EXACT_SECONDS:
        return SEARCH
    entry = registry.entries().get(EXACT)
    if entry is None or not entry.installed or instance.num_experts > EXACT_EXPERTS:
        return SEARCH
    exact: Any = entry.load()
    return EXACT if exact.expects_proof(instance, time_limit) else SEARCH
