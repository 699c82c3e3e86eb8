"""Latency of the average of many steps, asked with the sum of their tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from gemopt.latency.base import Floats, LatencyModel, Line, Row


@dataclass(frozen=True)
class Averaged(LatencyModel):
    """The model of which n tokens cost what n / `steps` tokens cost in `model`.

    Exact in every family, so that loads summed over a window stay whole numbers.

    Parameters
    ----------
    model
        Latency of one step.
    steps
        Number of steps whose tokens are summed, at least 1.
    """

    model: LatencyModel
    steps: int

    def us(self, shares: ArrayLike, step_tokens: ArrayLike | None = None) -> Floats:
        share = np.asarray(shares, dtype=np.float64) / self.steps
        if step_tokens is None:
            return self.model.us(share)
        return self.model.us(share, np.asarray(step_tokens) / self.steps)

    def rows(self) -> tuple[Row, ...]:
        return tuple(_averaged(row, self.steps) for row in self.model.rows())


def averaged(model: LatencyModel, steps: int) -> LatencyModel:
    """Return `Averaged`, or the model itself for one step."""
    return model if steps == 1 else Averaged(model, steps)


def _averaged(row: Row, steps: int) -> Row:
    return replace(
        row,
        tile=row.tile * steps,
        lines=tuple(_line(line, steps) for line in row.lines),
        upto=tuple(limit * steps for limit in row.upto),
        slope=tuple(slope / steps for slope in row.slope),
        max_step_tokens=row.max_step_tokens * steps,
    )


def _line(line: Line, steps: int) -> Line:
    return replace(line, per_token_us=line.per_token_us / steps)
