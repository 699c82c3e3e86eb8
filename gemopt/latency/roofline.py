"""Latency as the larger of a memory line and a compute line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gemopt.latency.base import (
    TWO_LINES,
    Floats,
    LatencyModel,
    Line,
    Row,
    check_tile,
    features,
)

MAX_POWER = 64.0


@dataclass(frozen=True)
class Roofline(LatencyModel):
    """Maximum of a memory-bound and a compute-bound line, hard or smooth.

    Parameters
    ----------
    memory, compute
        Lines in tokens, active experts and tiles.
    tile
        Rows of one tile, in tokens.
    power
        None for the plain maximum; q in (1, 64] for ``(m**q + c**q)**(1/q)``, which
        rounds the corner. Bounded because fits run away with it.

    Raises
    ------
    ValueError
        Both lines are zero, `tile` < 1, or `power` outside its range.
    """

    memory: Line
    compute: Line
    tile: int = 64
    power: float | None = None

    def __post_init__(self) -> None:
        check_tile(self.tile)
        if not (self.memory.any_positive() or self.compute.any_positive()):
            raise ValueError("both lines are zero: zero latency everywhere")
        if self.power is not None and not 1.0 < self.power <= MAX_POWER:
            raise ValueError(f"power = {self.power} must be in (1, {MAX_POWER:.0f}]")

    def rows(self) -> tuple[Row, ...]:
        lines = (self.memory, self.compute)
        power = 0.0 if self.power is None else float(self.power)
        return (Row(TWO_LINES, tile=int(self.tile), lines=lines, power=power),)

    def us(self, shares: ArrayLike, step_tokens: ArrayLike | None = None) -> Floats:
        sums = features(shares, self.tile)
        memory, compute = self.memory.us(*sums), self.compute.us(*sums)
        high, low = np.maximum(memory, compute), np.minimum(memory, compute)
        if self.power is None:
            return np.asarray(high)
        # Scaled by the larger term, so that no power can overflow.
        ratio = np.divide(low, high, out=np.zeros_like(low), where=high > 0)
        return np.asarray(high * (1.0 + ratio**self.power) ** (1.0 / self.power))
