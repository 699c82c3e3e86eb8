"""How OR-Tools CP-SAT is set up for a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpSolver


def proving(*, jobs: int, seed: int, seconds: float, replicas: bool) -> CpSolver:
    """A solver that ends with a proof, or when `seconds` are over."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = jobs
    solver.parameters.random_seed = seed % 2**31
    # Wrong optima come out of OR-Tools 9.15's symmetry detection when coefficients
    # exceed 31 bits; the model breaks the symmetries that matter itself.
    solver.parameters.symmetry_level = 0
    # Wrong optima also come out of its presolve of exactly-one rows that lie within
    # linear ones, as ours do (github.com/google/or-tools/issues/5293). With replicas
    # leaving it out takes two to four times as long and loses proofs of tiny layers.
    if not replicas:
        solver.parameters.presolve_inclusion_work_limit = 0
    solver.parameters.relative_gap_limit = 0.0
    # Its own handler of Ctrl-C aborts the process when it solves in a thread.
    solver.parameters.catch_sigint_signal = False
    if np.isfinite(seconds):
        solver.parameters.max_time_in_seconds = seconds
    return solver
