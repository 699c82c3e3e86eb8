"""Latency whose kernel configuration depends on the size of the whole step."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from gemopt.latency.base import Floats, LatencyModel, Row


@dataclass(frozen=True)
class Regimes(LatencyModel):
    """A latency model for each range of the step's global tokens.

    The first model whose `max_step_tokens` is at least the tokens of the step (on all
    GPUs together) applies, the last one also above its limit. The choice never looks
    at the GPU's own share: a search would exploit the false dips at the switches.

    Parameters
    ----------
    parts
        Pairs (max_step_tokens, model) with strictly rising limits; ``inf`` is allowed
        last. A part may not be `Regimes` itself.

    Raises
    ------
    ValueError
        No parts, limits that do not rise, or a nested `Regimes`.
    """

    parts: tuple[tuple[float, LatencyModel], ...]

    def __init__(self, parts: Iterable[tuple[float, LatencyModel]]) -> None:
        pairs = tuple((float(limit), model) for limit, model in parts)
        object.__setattr__(self, "parts", pairs)
        if not pairs:
            raise ValueError("parts is empty; give at least one (limit, model) pair")
        for i, (limit, model) in enumerate(pairs):
            if np.isnan(limit) or limit <= 0:
                raise ValueError(f"parts[{i}] has max_step_tokens = {limit} <= 0")
            if isinstance(model, Regimes):
                raise ValueError(f"parts[{i}] is Regimes again; nest one level only")
        for i, ((low, _), (high, _)) in enumerate(pairwise(pairs)):
            if high <= low:
                raise ValueError(
                    f"parts[{i + 1}] has max_step_tokens = {high} after {low}; sort"
                )

    def rows(self) -> tuple[Row, ...]:
        rows = [
            replace(row, max_step_tokens=limit)
            for limit, model in self.parts
            for row in model.rows()
        ]
        rows[-1] = replace(rows[-1], max_step_tokens=np.inf)
        return tuple(rows)

    def us(self, shares: ArrayLike, step_tokens: ArrayLike | None = None) -> Floats:
        if step_tokens is None:
            raise ValueError("Regimes needs step_tokens, the tokens of the whole step")
        share = np.asarray(shares, dtype=np.float64)
        step = np.broadcast_to(np.asarray(step_tokens, np.float64), share.shape[:-1])
        limits = [limit for limit, _ in self.parts[:-1]]
        part = np.searchsorted(np.asarray(limits), step, side="left")
        result = np.empty(share.shape[:-1])
        for i, (_, model) in enumerate(self.parts):
            chosen = part == i
            result[chosen] = model.us(share[chosen])
        return result
