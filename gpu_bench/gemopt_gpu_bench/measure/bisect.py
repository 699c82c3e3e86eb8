"""Adaptive sampling of balanced loads for kernels whose tiles are not known."""

from collections.abc import Callable
from itertools import pairwise

FIRST = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
CLOSE = 0.03  # a midpoint this near the line between its neighbours ends the search


def bisect_curve(
    measure: Callable[[int], float | None], max_tokens: int, limit: int = 64
) -> dict[int, float]:
    """Measure latency against tokens where it bends.

    Starts from powers of two and halves the interval whose midpoint was furthest from
    the line between its ends, in relative terms, until every interval is straight, one
    token wide, or `limit` points are spent.

    Parameters
    ----------
    measure
        Latency in us of that many tokens; None where it cannot be measured.
    max_tokens
        End of the curve.
    limit
        Most points.

    Returns
    -------
    dict
        Latency in us by tokens, rising.
    """
    known: dict[int, float] = {}

    def at(tokens: int) -> float | None:
        if tokens not in known and len(known) < limit:
            value = measure(tokens)
            if value is not None:
                known[tokens] = value
        return known.get(tokens)

    marks = sorted({t for t in FIRST if t < max_tokens} | {max_tokens})
    for tokens in marks:
        at(tokens)
    open_intervals = [(1.0, a, b) for a, b in pairwise(marks)]
    while open_intervals and len(known) < limit:
        open_intervals.sort()
        _, low, high = open_intervals.pop()
        middle = (low + high) // 2
        if middle in (low, high) or low not in known or high not in known:
            continue
        value = at(middle)
        if value is None:
            continue
        part = (middle - low) / (high - low)
        line = known[low] + part * (known[high] - known[low])
        bend = abs(value / line - 1.0)
        if bend > CLOSE:
            open_intervals += [(bend, low, middle), (bend, middle, high)]
    return dict(sorted(known.items()))
