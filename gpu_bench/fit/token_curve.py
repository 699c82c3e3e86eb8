"""`TokenCurve` from balanced points: the model of the GEM paper."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gemopt.latency import TokenCurve
from gemopt.latency.token_curve import Interpolation
from gpu_bench.sampling import steps_up, switches
from gpu_bench.tiles import TileTable, waves


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
    shape: tuple[int, int, int],
    sms: int,
    max_tokens: int,
) -> TokenCurve:
    """Whole staircase of balanced loads from the few points that were measured.

    Between two tile boundaries a known kernel is flat; plateaus that were not measured
    lie between their measured neighbours in proportion to the rounds that the kernel
    makes on the multiprocessors.

    Parameters
    ----------
    tokens, us
        Measured points.
    table, shape, sms
        Tiles, (hidden, intermediate, experts) and multiprocessors.
    max_tokens
        End of the curve.
    """
    experts = shape[2]
    measured = dict(zip((int(t) for t in tokens), us, strict=True))
    marks = np.array(sorted(measured))
    values = np.array([measured[t] for t in marks])
    edges: set[int] = set()
    for end in steps_up(table, experts, max_tokens):
        edges |= {end, min(end + experts, max_tokens)}
    for end in switches(table, experts, max_tokens):
        edges |= {end, end + 1}
    points = dict(measured)
    for edge in sorted(edges - set(measured)):
        points[edge] = _between(edge, marks, values, table, shape, sms)
    return curve(list(points), list(points.values()), "linear")


def _between(
    edge: int,
    marks: NDArray[np.int64],
    values: NDArray[np.float64],
    table: TileTable,
    shape: tuple[int, int, int],
    sms: int,
) -> float:
    """Latency at `edge` from the measured points on both sides."""
    right = int(np.searchsorted(marks, edge))
    if right in (0, len(marks)):
        return float(values[min(right, len(marks) - 1)])
    ends = marks[right - 1], marks[right]
    low, here, high = (
        waves(table, shape, sms, t / shape[2]) for t in (ends[0], edge, ends[1])
    )
    part = (here - low) / (high - low) if high > low else 0.0
    part = min(max(part, 0.0), 1.0)
    return float(values[right - 1] + part * (values[right] - values[right - 1]))
