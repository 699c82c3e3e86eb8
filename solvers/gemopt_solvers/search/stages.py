"""The stages of the search of one layer: what `presets` makes its lists of.

A stage changes the present placement, or the statistics, of a `LayerSearch`; it yields
at least every 0.1 s and may be dropped at any yield.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gemopt_solvers.search.first.construct import (
    BLUR,
    LEAST,
    deal_copies,
    improve_quadratic,
    improve_windows,
    place_greedily,
)
from gemopt_solvers.search.layer import LayerSearch, adopt
from gemopt_solvers.search.moves.acceptance import METROPOLIS
from gemopt_solvers.search.moves.anneal import DRAWS, Schedule, anneal
from gemopt_solvers.search.moves.descent import descend, mark_all
from gemopt_solvers.search.moves.proposals import EXCHANGE, GIVE_SLOT
from gemopt_solvers.search.state.refresh_loads import refresh_loads
from gemopt_solvers.search.work import pairs_tried, window_pairs_tried

CALL_WORK = 5e7  #: nanoseconds, roughly, of one kernel call of a descent
CALL_PROPOSALS = 2_000_000  #: proposals times steps of one call, well below 0.2 s
MOST_REPEATS = 500  #: proposals of a pair of slots in one round, at most

# Where every pair of slots is proposed this often in a round, rounds start hotter and
# hotter: small instances have few but deep valleys.
REPEATS = 50
HEATS = (1.0, 4.0, 16.0, 64.0)


@dataclass(frozen=True)
class Turn:
    """Which round it is, and its random numbers.

    `num_steps` is on how many steps placements are compared, about, in all layers.
    """

    number: int
    rng: np.random.Generator
    num_steps: int


class Stage(Protocol):
    """One step of the pipeline."""

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Do the stage on one layer."""
        ...


@dataclass(frozen=True)
class Deal:
    """Copies by volatility: the next one to the largest (mean + z sd) / copies."""

    z: float

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Set the copies, the loads and their means."""
        trace, coarse = search.trace, search.coarse
        search.single_copies()
        deal_copies(
            coarse.loads.load[0], coarse.times.weights, self.z, search.room,
            coarse.seats.replicas, search.mean,
        )  # fmt: skip
        trace.seats.replicas[:] = coarse.seats.replicas
        if search.has_copies:
            refresh_loads(trace.loads, trace.seats.replicas)
            search.fill_windows()
            weights = coarse.times.weights
            search.mean[:] = coarse.loads.load[0] @ (weights / weights.sum(dtype=float))
        return
        yield


@dataclass(frozen=True)
class Greedy:
    """The largest mean load first, to the GPU that would finish it first."""

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Place on the windows."""
        place_greedily(search.coarse.seats, search.mean, search.base, search.scale)
        return
        yield


@dataclass(frozen=True)
class Quadratic:
    """Exchanges on a sum of squares, some sweeps."""

    sweeps: int

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Improve the placement on the windows."""
        coarse = search.coarse
        improve_quadratic(
            coarse.seats, coarse.loads, coarse.times.weights, coarse.times.slope,
            search.mean, search.base, search.scale, self.sweeps,
        )  # fmt: skip
        return
        yield


@dataclass(frozen=True)
class WindowExchanges:
    """True exchanges on the windows, `work` ns; `tries` evaluated for each pair."""

    work: float
    tries: int

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Improve the placement on the windows."""
        windows = len(search.coarse.times.weights)
        most = window_pairs_tried(self.work, search.gpus, len(search.best), windows)
        improve_windows(search.coarse, search.base, search.scale, most, self.tries)
        return
        yield


@dataclass(frozen=True)
class Adopt:
    """Take the placement found on windows to the steps, and keep it if it is better."""

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Evaluate on all steps."""
        adopt(search.fine.seats, search.coarse.seats.phy2log)
        if search.fine is not search.trace:
            refresh_loads(search.fine.loads, search.fine.seats.replicas)
        search.fine.loads.moment[:] = search.coarse.loads.moment
        search.evaluate()
        yield


@dataclass(frozen=True)
class BestOf:
    """Ways to deal copies: go on from the best; without copies only the first."""

    ways: tuple[tuple[Stage, ...], ...]

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Run every way."""
        for stages in self.ways if search.has_copies else self.ways[:1]:
            for stage in stages:
                yield from stage.run(search, turn)
        if len(self.ways) > 1 and search.has_copies:
            search.take(search.best.copy())


@dataclass(frozen=True)
class Exchanges:
    """True exchanges on all steps, `work` ns, until none tried gains."""

    work: float
    tries: int

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Improve the present placement."""
        gpus, steps = search.fine.times.latency.shape
        slots = len(search.best)
        mark_all(search.fine.dirty)
        left = pairs_tried(self.work, gpus, slots, steps)
        chunk = pairs_tried(CALL_WORK, gpus, slots, steps) + 1
        while left > 0:
            most = min(chunk, left)
            blur = BLUR * search.mean_latency
            cost, tried = descend(
                search.fine, search.curves, search.now, blur, LEAST * search.now,
                self.tries, most,
            )  # fmt: skip
            search.keep(cost)
            if tried < most:
                return
            left -= tried
            yield


@dataclass(frozen=True)
class Restart:
    """Go back to the best placement; with statistics of the trace, for a new round."""

    statistics: bool = False

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Take the best row."""
        if self.statistics:
            search.fill_statistics()
        search.take(search.best.copy())
        return
        yield


@dataclass(frozen=True)
class Anneal:
    """Simulated annealing on all steps, in rounds.

    Parameters
    ----------
    proposals
        Least proposals of a round.
    work
        Proposals of a round times slots times steps, where that gives more and...
    slots
        ...a layer has no more slots than this.
    moves
        Moves of `proposals` and their shares; what needs copies is left out where
        there are none.
    rule
        Of `acceptance`.
    hot, cold
        Temperatures, as parts of the mean latency of a step.
    """

    proposals: int = 0
    work: float = 0.0
    slots: int = 10**9
    moves: tuple[tuple[int, float], ...] = ((EXCHANGE, 0.97), (GIVE_SLOT, 0.03))
    rule: int = METROPOLIS
    hot: float = 0.05
    cold: float = 0.004

    def proposals_a_round(self, slots: int, steps: int) -> int:
        """Proposals of a round of one layer; 0 for no annealing."""
        scaled = int(self.work / (slots * (max(steps, 4 * slots) + 16)))
        wanted = max(self.proposals, scaled if slots <= self.slots else 0)
        return min(wanted, MOST_REPEATS * slots**2)

    def run(self, search: LayerSearch, turn: Turn) -> Iterator[None]:
        """Do one round."""
        slots = len(search.best)
        proposals = self.proposals_a_round(slots, turn.num_steps)
        chunk = max(1, min(proposals, CALL_PROPOSALS // (search.num_steps + 16)))
        pieces = -(-proposals // chunk)
        hot = self.hot
        if proposals >= REPEATS * slots**2:
            hot *= HEATS[(turn.number - 1) % len(HEATS)]
        heat = np.geomspace(hot, self.cold, pieces + 1)
        for i in range(pieces):
            self.cool(search, turn.rng, chunk, heat[i], heat[i + 1])
            yield

    def cool(
        self, search: LayerSearch, rng: np.random.Generator, proposals: int,
        hot: float, cold: float,
    ) -> None:  # fmt: skip
        """Anneal from `hot` to `cold`, in parts of the mean latency of a step."""
        step, draws = search.mean_latency, rng.random((proposals, DRAWS))
        upto = np.ones(max(move for move, _ in self.moves) + 1)
        if search.has_copies:
            share = np.bincount(
                [move for move, _ in self.moves], [part for _, part in self.moves]
            )
            upto[:-1] = 1.0 - np.cumsum(share[::-1])[::-1][1:]
        schedule = Schedule(upto, self.rule, hot * step, cold * step)
        search.now, search.cost = anneal(
            search.fine, search.curves, schedule, search.now, draws,
            rng.standard_exponential(proposals), search.best, search.cost,
        )  # fmt: skip
