"""`TokenCurve` from balanced points: the model of the GEM paper."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from gemopt.latency import TokenCurve
from gemopt.latency.token_curve import Interpolation
from gemopt_gpu_bench.backends.tiles import GROUP, TileTable
from gemopt_gpu_bench.measure.plateaus import Plateau, full_twin, plateaus

WEIGHTS_RULE = 1.25  # times the latency of one token per expert


def curve(
    tokens: Sequence[int], us: Sequence[float], interpolation: Interpolation
) -> TokenCurve:
    """Build a curve through points; repeated token counts are averaged."""
    groups: dict[int, list[float]] = {}
    for x, y in zip(tokens, us, strict=True):
        groups.setdefault(int(x), []).append(float(y))
    points = [(float(x), float(np.mean(groups[x]))) for x in sorted(groups)]
    return TokenCurve(points, interpolation)


def staircase(
    tokens: Sequence[int],
    us: Sequence[float],
    table: TileTable,
    experts: int,
    max_tokens: int,
) -> TokenCurve:
    """Whole staircase of balanced loads from the few points that were measured.

    Parameters
    ----------
    tokens, us
        Measured points: the ramp 1..experts, ends and some beginnings of plateaus.
        Without the end of any plateau they are joined by lines.
    table, experts
        Tiles, and experts on the GPU.
    max_tokens
        End of the curve.
    """
    measured = dict(zip((int(t) for t in tokens), us, strict=True))
    flats = plateaus(table, experts, max_tokens)
    if not any(flat.end in measured for flat in flats):
        return curve(tokens, us, "linear")
    ends = _end_values(flats, measured)
    slopes = _slopes(flats, measured, ends, experts)
    points = {t: y for t, y in measured.items() if t <= experts}
    for flat, slope in zip(flats, slopes, strict=True):
        points[flat.begin] = ends[flat] - slope * (flat.end - flat.begin)
        points[flat.end] = ends[flat]
    return curve(list(points), list(points.values()), "linear")


def _end_values(
    flats: Sequence[Plateau], measured: Mapping[int, float]
) -> dict[Plateau, float]:
    """Latency at the end of every plateau, measured or between measured ones.

    A plateau of tails takes what the one of as many full tiles takes. Between measured
    ones latency follows row tiles and groups of row tiles, see `_trend`.
    """
    known = [flat for flat in flats if flat.end in measured]
    trend = _trend(known, measured)
    values = {flat: measured[flat.end] for flat in known}
    for flat in flats:
        twin = full_twin(flat, flats) or flat
        if flat in values:
            continue
        if twin.end in measured:
            values[flat] = measured[twin.end]
            continue
        right = min(sum(each.end < twin.end for each in known), len(known) - 1)
        a, b = known[max(right - 1, 0)], known[right]
        part = (twin.end - a.end) / (b.end - a.end) if b.end > a.end else 0.0
        part = min(max(part, 0.0), 1.0)
        trends = [trend.get(each.config.block_m) for each in (a, twin, b)]
        scale = [t(e) if t else 1.0 for t, e in zip(trends, (a, twin, b), strict=True)]
        if len({each.config.block_m for each in (a, twin, b)}) > 1:
            scale = [1.0] * 3
        left, end = measured[a.end] / scale[0], measured[b.end] / scale[2]
        values[flat] = (left + part * (end - left)) * scale[1]
    return values


def _trend(
    known: Sequence[Plateau], measured: Mapping[int, float]
) -> dict[int, Callable[[Plateau], float]]:
    """Fit ``a + b * tiles + c * groups`` for each number of rows with three points.

    A group of row tiles reads the weights once.
    """
    found: dict[int, Callable[[Plateau], float]] = {}
    for rows in {flat.config.block_m for flat in known}:
        mine = [flat for flat in known if flat.config.block_m == rows]
        if len(mine) < 3:
            continue
        us = np.array([measured[flat.end] for flat in mine])
        design = np.array([_features(flat) for flat in mine]) / us[:, None]
        weights, _ = nnls(design, np.ones(len(us)))

        def trend(flat: Plateau, weights: NDArray[np.float64] = weights) -> float:
            return float(_features(flat) @ weights)

        found[rows] = trend
    return found


def _features(flat: Plateau) -> NDArray[np.float64]:
    return np.array([1.0, flat.tiles, ceil(flat.tiles / GROUP)])


def _slopes(
    flats: Sequence[Plateau],
    measured: Mapping[int, float],
    ends: Mapping[Plateau, float],
    experts: int,
) -> list[float]:
    """Rise within each plateau in us per token: more activations to move.

    Known where both sides were measured, between those by interpolation. Past the last
    known one a plateau is level once arithmetic rules, not the reading of weights.
    """
    at_ramp = measured.get(experts)
    known: dict[int, float] = {}
    for i, flat in enumerate(flats):
        begin = experts if i == 0 else flat.begin
        if begin in measured and flat.end in measured and begin < flat.end:
            rise = measured[flat.end] - measured[begin]
            known[flat.end] = max(0.0, rise / (flat.end - begin))
    if not known:
        return [0.0] * len(flats)
    slopes = []
    for flat in flats:
        slope = float(np.interp(flat.end, list(known), list(known.values())))
        level = at_ramp is None or ends[flat] > WEIGHTS_RULE * at_ramp
        slopes.append(0.0 if level and flat.end > max(known) else slope)
    return slopes
