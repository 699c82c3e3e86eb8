"""Latency of the average of many steps, asked with the sum of their tokens."""

from dataclasses import replace
from functools import singledispatch

from gemopt.latency import LatencyModel, Line, Regimes, Roofline, TileActive, TokenCurve


@singledispatch
def averaged(model: LatencyModel, steps: int) -> LatencyModel:
    """Return the model of which n tokens cost what n / `steps` tokens cost in `model`.

    Exact in every family, so that loads summed over a window stay whole numbers.

    Raises
    ------
    ValueError
        A class that this does not know.
    """
    raise ValueError(f"latency model {type(model).__name__} cannot be averaged")


@averaged.register
def _(model: TokenCurve, steps: int) -> LatencyModel:
    points = [(tokens * steps, us) for tokens, us in model.points]
    return TokenCurve(points, model.interpolation)


@averaged.register
def _(model: TileActive, steps: int) -> LatencyModel:
    per_token = model.per_token_us / steps
    return replace(model, per_token_us=per_token, tile=int(model.tile) * steps)


@averaged.register
def _(model: Roofline, steps: int) -> LatencyModel:
    memory, compute = _line(model.memory, steps), _line(model.compute, steps)
    return Roofline(memory, compute, int(model.tile) * steps, model.power)


@averaged.register
def _(model: Regimes, steps: int) -> LatencyModel:
    parts = [(limit * steps, averaged(part, steps)) for limit, part in model.parts]
    return Regimes(parts)


def _line(line: Line, steps: int) -> Line:
    return replace(line, per_token_us=line.per_token_us / steps)
