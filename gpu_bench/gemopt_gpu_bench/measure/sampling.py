"""Which loads to measure: tile boundaries, the ramp of experts, drawn vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gemopt_gpu_bench.backends.tiles import TileTable
from gemopt_gpu_bench.measure.plateaus import plateaus

BOUNDARY_POINTS = 20
FEW = 4.0  # mean tokens per expert
#: Ends of the ranges in which one line is fitted, in mean tokens per expert, for
#: kernels whose switches are not known.
RANGES = (1.0, 4.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)
NEAR = 1.6  # an end of `RANGES` this close to a switch of configuration is left out


@dataclass(frozen=True)
class Load:
    """One load of a GPU to be measured.

    Attributes
    ----------
    kind
        ``boundary``, ``vector``, ``sparse``, ``validation``, ``trace``, ``dense``...
    mean_tokens
        Tokens per expert of the whole step, over all experts of the layer.
    counts
        Tokens of each expert on this GPU.
    """

    kind: str
    mean_tokens: float
    counts: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Token-expert assignments on this GPU."""
        return sum(self.counts)


class Routing(Protocol):
    """Where realistic count vectors come from."""

    def draw(self, mean_tokens: float, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw the counts of one GPU ``[experts]`` in a step of that mean."""
        ...


def balanced(kind: str, experts: int, tokens: int) -> Load:
    """Spread `tokens` evenly, the remainder to the first experts."""
    share, rest = divmod(tokens, experts)
    counts = tuple(share + (e < rest) for e in range(experts))
    return Load(kind, tokens / experts, counts)


def boundary_tokens(
    table: TileTable, experts: int, max_tokens: int, limit: int = BOUNDARY_POINTS
) -> list[int]:
    """Token counts whose latencies determine the staircase of balanced loads.

    The ramp of the first experts (powers of two), then the ends of plateaus: those
    that tell most, then the widest gaps. Points that are left go to the beginnings of
    plateaus, past the ramp on which experts step up one after another.

    Returns
    -------
    list of int
        Rising token counts in 1..max_tokens.
    """
    chosen = {1, experts, max_tokens}
    active = 2
    while active < experts:
        chosen.add(active)
        active *= 2
    flats = plateaus(table, experts, max_tokens)
    chosen |= {flat.end for flat in flats if flat.rank == 0}
    for rank in (1, 2):
        ends = [flat.end for flat in flats if flat.rank == rank]
        while (ends := [t for t in ends if t not in chosen]) and len(chosen) < limit:
            chosen.add(max(ends, key=lambda t: _gap(t, chosen)))
    wide = [flat for flat in flats[1:] if flat.end - flat.begin > experts]
    wide.sort(key=lambda flat: flat.end / flat.low)
    while wide and len(chosen) < limit:
        chosen.add(wide.pop().begin)
    return sorted(chosen)


def _gap(tokens: int, chosen: set[int]) -> float:
    """Distance in log tokens to the nearest chosen point."""
    return min(abs(np.log(tokens / other)) for other in chosen)


def range_limits(table: TileTable | None, top: float) -> list[float]:
    """Ends of the ranges of mean tokens per expert, each with one fit.

    Every switch of configuration ends a range, and so does `FEW`, below which experts
    without tokens are common. Where switches are not known powers of two stand for
    them. Which range applies depends on the whole step alone: a search cannot exploit
    it. More ranges fit the points better and unseen ones worse.
    """
    ends = set()
    if table is not None:
        ends = {limit for limit, _ in table.rows if limit < top}
    for end in RANGES if table is None else (FEW,):
        if end < top / NEAR and all(not 1 / NEAR < end / x < NEAR for x in ends):
            ends.add(end)
    return [*sorted(ends), inf]


def vector_loads(
    kind: str,
    routing: Routing,
    limits: Sequence[float],
    count: int,
    top: float,
    rng: np.random.Generator,
) -> list[Load]:
    """Draw `count` vectors, spread over the ranges, log-uniform within each.

    Parameters
    ----------
    kind
        Kind of the loads.
    routing
        Source of counts.
    limits
        Ends of the ranges, from `range_limits`.
    count
        Vectors altogether.
    top
        Largest mean tokens per expert.
    rng
        Randomness.
    """
    loads = []
    lows = [0.0, *limits[:-1]]
    for i in range(count):
        part = i % len(limits)
        high = min(limits[part], top)
        low = max(lows[part], high / 16)
        # Strictly above `low`: a mean equal to it belongs to the range below.
        mean = float(high * (low / high) ** rng.uniform(0.0, 0.98))
        counts = routing.draw(mean, rng)
        while not sum(counts):
            counts = routing.draw(mean, rng)
        loads.append(Load(kind, mean, counts))
    return loads


class Popularity:
    """Counts drawn from expert popularities, those of a trace or generated ones.

    Parameters
    ----------
    shares
        Popularity of each expert in each window, ``[windows, experts]``, rows sum to 1.
    experts
        Experts on this GPU, drawn anew for each vector.
    total
        Experts of the layer. Where it differs from the trace's, the experts that are
        drawn keep their popularity relative to the mean.
    max_tokens
        Most assignments that the GPU's buffers hold; a larger draw is scaled down.
    """

    def __init__(
        self, shares: NDArray[np.float64], experts: int, total: int, max_tokens: int
    ) -> None:
        if shares.shape[1] < experts:
            raise ValueError(
                f"the trace has {shares.shape[1]} experts, fewer than {experts} per GPU"
            )
        self.relative = shares * shares.shape[1]  # 1 = mean popularity
        self.experts, self.total, self.max_tokens = experts, total, max_tokens

    @classmethod
    def from_trace(
        cls,
        counts: NDArray[np.int64],
        experts: int,
        total: int,
        max_tokens: int,
        window: int = 8,
    ) -> "Popularity":
        """Take popularities from ``counts [steps, layers, experts]``.

        `window` steps are summed, so that the noise of small steps is not mistaken
        for popularity.
        """
        used = len(counts) - len(counts) % window if len(counts) >= window else 0
        if not used:
            raise ValueError(f"the trace has {len(counts)} steps, needs {window}")
        windows = counts[:used].reshape(-1, window, *counts.shape[1:]).sum(axis=1)
        flat = windows.reshape(-1, counts.shape[2]).astype(np.float64)
        flat = flat[flat.sum(axis=1) > 0]
        return cls(flat / flat.sum(axis=1, keepdims=True), experts, total, max_tokens)

    @classmethod
    def generated(
        cls,
        experts: int,
        total: int,
        max_tokens: int,
        rng: np.random.Generator,
        skews: Sequence[float] = (0.5, 1.0, 3.0, 10.0),
    ) -> "Popularity":
        """Draw Dirichlet popularities, from strongly skewed to nearly even."""
        rows = [rng.dirichlet(np.full(total, a)) for a in skews for _ in range(32)]
        return cls(np.array(rows), experts, total, max_tokens)

    def draw(self, mean_tokens: float, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw multinomial counts of random experts in a random window."""
        row = self.relative[rng.integers(len(self.relative))]
        chosen = rng.choice(len(row), self.experts, replace=False)
        share = row[chosen] / self.total
        step = max(1, round(mean_tokens * self.total))
        if share.sum() > 1.0:
            share /= share.sum()
        wanted = share.sum() * step
        if wanted > self.max_tokens:
            step = int(step * self.max_tokens / wanted * 0.9)
        drawn = rng.multinomial(step, [*share, max(0.0, 1.0 - share.sum())])
        return tuple(int(n) for n in drawn[:-1])


class Sparse:
    """Few active experts with uneven loads: what placements rarely but do produce."""

    def __init__(self, experts: int, max_tokens: int) -> None:
        self.experts, self.max_tokens = experts, max_tokens

    def draw(self, mean_tokens: float, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw 1..E active experts, log-uniform, and split the tokens unevenly."""
        active = round(self.experts ** rng.uniform())
        tokens = mean_tokens * self.experts * rng.uniform(0.3, 1.3)
        tokens = max(active, min(round(tokens), self.max_tokens))
        split = rng.multinomial(tokens - active, rng.dirichlet(np.full(active, 2.0)))
        counts = np.zeros(self.experts, dtype=np.int64)
        counts[rng.choice(self.experts, active, replace=False)] = split + 1
        return tuple(int(n) for n in counts)
