"""CP-SAT in a thread of its own, so that a caller can poll and stop it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

_POLL = 0.02  #: seconds between two looks


def solving(
    solver: cp_model.CpSolver, model: cp_model.CpModel
) -> Generator[None, None, Any]:
    """Solve, yielding while the solver works; returns its status.

    Dropping the generator, or an exception at a yield, stops the solver.
    """
    box: list[Any] = []
    worker = threading.Thread(
        target=lambda: box.append(solver.solve(model)), daemon=True
    )
    worker.start()
    try:
        while worker.is_alive():
            worker.join(_POLL)
            if worker.is_alive():
                yield
    finally:
        if worker.is_alive():
            solver.stop_search()
            worker.join()
    return box[0]
