"""From microseconds to whole numbers, without ever raising a bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemopt.latency.base import CURVE
from gemopt_solvers.exact.rows.model import Model

#: The objective of the hint in whole units, about: coefficients stay below 2**31, above
#: which the presolve of OR-Tools 9.15 returns wrong optima.
TOTAL = 1e9
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """``z = (us - offset) * unit`` in every step; the sum of z is minimised.

    Attributes
    ----------
    unit, offset
        Whole units per us (weight included), and us that z leaves out, ``[steps]``.
    base, us
        Objective in us = ``base + us * sum(z)``.
    whole
        z counts whole tokens, nothing is rounded.
    """

    unit: Floats
    offset: Floats
    base: float
    us: float
    whole: bool

    def to_us(self, total: float) -> float:
        """Objective in us of a sum of z."""
        return self.base + self.us * total

    def lowest(self, model: Model) -> Floats:
        """Whole z that the one-step bounds prove, ``[steps]``."""
        low = (model.bound - self.offset) * self.unit
        used = model.instance.weights > 0
        grain = np.ceil(low - 1e-6) if self.whole else np.floor(low)
        return np.where(used, np.maximum(grain, 0), 0)

    def highest(self, model: Model) -> Floats:
        """Whole z that no placement exceeds, ``[steps]``."""
        high = np.zeros(len(self.unit))
        for row in model.times:
            most = sum(max(0.0, c) for _, c in row.terms)
            top = row.constant + most - self.offset[row.step]
            high[row.step] = max(high[row.step], top * self.unit[row.step] + 1)
        # No step alone may cost more than the known placement does in all of them.
        return np.ceil(high if self.whole else np.minimum(high, 1.01 * TOTAL))


def scaling_of(model: Model) -> Scaling:
    """Tokens where all GPUs share one line in tokens, else us times a scale."""
    instance, tables = model.instance, model.tables
    weights = instance.weights
    used = weights > 0
    steps = len(weights)
    same = bool((weights[used] == weights[used][0]).all())
    one = len(tables.kind) == 1 and tables.kind[0] == CURVE and len(tables.upto) == 1
    if one and same and model.most == 1 and tables.slope[0] > 0:
        a, b = float(tables.intercept[0]), float(tables.slope[0])
        weight = float(weights[used][0])
        return Scaling(
            unit=np.full(steps, 1 / b),
            offset=np.full(steps, a),
            base=a * weight * float(used.sum()),
            us=weight * b,
            whole=True,
        )
    scale = TOTAL / model.known
    return Scaling(
        unit=scale * weights,
        offset=np.zeros(steps),
        base=0.0,
        us=1.0 / scale,
        whole=False,
    )
