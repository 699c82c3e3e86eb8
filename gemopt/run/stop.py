"""When a solver stops: frozen values, joined with ``|``, free to use again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class StopReason(StrEnum):
    """Why a solver stopped."""

    TIME = "time"  #: the time limit ran out
    ITERATIONS = "iterations"  #: the iteration limit was reached
    TARGET = "target"  #: the objective reached the target
    STALLED = "stalled"  #: no improvement for the given number of iterations
    PROVEN = "proven"  #: nothing better exists, or nothing feasible at all
    FINISHED = "finished"  #: the method came to its own end
    INTERRUPTED = "interrupted"  #: Ctrl-C or an observer asked for it


class Progress(NamedTuple):
    """What a stop criterion sees."""

    iteration: int  #: iterations done
    elapsed: float  #: seconds since the start
    best: float  #: best objective in us, inf before the first placement
    bound: float  #: lower bound in us, -inf when none is known
    best_iteration: int  #: iteration of the last improvement


class StopCriterion:
    """Base of all criteria. Call it with `Progress`; a reason means stop."""

    def __call__(self, progress: Progress) -> StopReason | None:
        """Return why to stop now, or None to go on."""
        raise NotImplementedError(type(self).__name__)

    def __or__(self, other: StopCriterion) -> AnyOf:
        return AnyOf((self, other))


@dataclass(frozen=True)
class AnyOf(StopCriterion):
    """Stop as soon as one of `criteria` says so; the first one names the reason."""

    criteria: tuple[StopCriterion, ...]

    def __call__(self, progress: Progress) -> StopReason | None:
        for criterion in self.criteria:
            reason = criterion(progress)
            if reason is not None:
                return reason
        return None


@dataclass(frozen=True)
class MaxRuntime(StopCriterion):
    """Stop after `seconds`. Results then depend on the machine."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError(f"seconds = {self.seconds} must be >= 0")

    def __call__(self, progress: Progress) -> StopReason | None:
        return StopReason.TIME if progress.elapsed >= self.seconds else None


@dataclass(frozen=True)
class MaxIterations(StopCriterion):
    """Stop after `count` iterations. Results then are the same everywhere."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count = {self.count} must be >= 0")

    def __call__(self, progress: Progress) -> StopReason | None:
        done = progress.iteration >= self.count
        return StopReason.ITERATIONS if done else None


@dataclass(frozen=True)
class Target(StopCriterion):
    """Stop once the objective is at most `objective` us."""

    objective: float

    def __call__(self, progress: Progress) -> StopReason | None:
        return StopReason.TARGET if progress.best <= self.objective else None


@dataclass(frozen=True)
class NoImprovement(StopCriterion):
    """Stop after `count` iterations without improvement."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count = {self.count} must be >= 1")

    def __call__(self, progress: Progress) -> StopReason | None:
        idle = progress.iteration - progress.best_iteration
        return StopReason.STALLED if idle >= self.count else None


def joined(
    stop: StopCriterion | None,
    time_limit: float | None = None,
    iterations: int | None = None,
) -> StopCriterion:
    """Join a criterion and the two common limits; none at all never stops."""
    criteria = [] if stop is None else [stop]
    if time_limit is not None:
        criteria.append(MaxRuntime(time_limit))
    if iterations is not None:
        criteria.append(MaxIterations(iterations))
    return AnyOf(tuple(criteria))
