"""Load and compile a solver before its clock starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemopt.model.instance import Instance
from gemopt.run import registry
from gemopt.run.solve import solve


def warm(instance: Instance, solver: str, params: Mapping[str, Any] = {}) -> None:
    """Run a solver on a sliver of `instance`, so that no time counts its loading.

    Raises
    ------
    ValueError
        The solver cannot take the instance.
    """
    sliver = instance.layer(0).steps(0, min(2, instance.num_steps))
    # A clock would stop after the first kernel; only a proof may need one.
    exact = solver != "auto" and registry.entry(solver).load().exact
    solve(
        sliver,
        solver,
        iterations=2,
        time_limit=0.5 if exact else None,
        params=dict(params) or None,
        trace=False,
    )
