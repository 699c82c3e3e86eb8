"""Traffic with consistent and temporal experts, as the GEM paper describes it."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CONSISTENT = -1  #: kind of an expert that is hot in most steps
BACKGROUND = 0  #: kind of an expert that is neither
TEMPORAL = 1  #: kind of the first group of experts with bursts; groups count up

# Statistics of the paper: hot in about 85 % of the steps; hot in about 17 % of them,
# then with about 3 times the tokens.
CONSISTENT_ACTIVE = 0.85
TEMPORAL_ACTIVE = 0.17
TEMPORAL_LOAD = 3.0  # fair loads (a fair load is tokens * top_k / experts)

# What the paper leaves open. The parts follow decode traces of gpt-oss-20b: of its 32
# experts 0.3-2.1 are hot in most steps and 5-11 now and then.
CONSISTENT_PART = 1 / 16
TEMPORAL_PART = 1 / 4
CONSISTENT_LOAD = 3.5  # fair loads; there the hottest expert averages 2.5-4.5
GROUP = 4  # temporal experts that burst together
JOINS = 0.95  # chance that a member joins a step of its group's burst
POPULARITY, HOT_POPULARITY = 0.5, 0.1  # deviation of the log load between experts
DRIFT, HOT_DRIFT = 0.15, 0.1  # the same of one expert over time
CALM_LOAD = 0.5  # load of temporal experts between bursts, against background ones
CALM_STEPS = 4.0  # mean length of a consistent expert's pause, in steps
BURST_STEPS = 8.0  # mean length of a burst, in steps
DRIFT_STEPS = 50.0  # memory of the AR(1) drift of the log load, in steps
HOT_LIMIT = 0.9  # largest part of a step's load that hot experts take together


def expert_kinds(rng: np.random.Generator, experts: int) -> Ints:
    """Deal kinds to the experts of one layer, int64 ``[experts]``.

    `CONSISTENT`, `BACKGROUND`, or the number (`TEMPORAL` and up) of the group with
    which the expert bursts. `burst_shares` starts with this draw, so a fresh generator
    of the same seed tells the kinds of a layer.
    """
    consistent = max(1, round(experts * CONSISTENT_PART))
    temporal = min(max(2, round(experts * TEMPORAL_PART)), experts - consistent)
    groups = max(1, round(temporal / GROUP))
    kinds = np.full(experts, BACKGROUND, dtype=np.int64)
    order = rng.permutation(experts)
    kinds[order[:consistent]] = CONSISTENT
    members = order[consistent : consistent + temporal]
    kinds[members] = TEMPORAL + np.arange(temporal) % groups
    return kinds


def burst_shares(rng: np.random.Generator, steps: int, experts: int) -> Floats:
    """Relative loads of the experts of one layer, float64 ``[steps, experts]``.

    Active hot experts take `CONSISTENT_LOAD` and `TEMPORAL_LOAD` fair loads; the others
    share what is left by lognormal popularity. Every load drifts as an AR(1) process.
    """
    kinds = expert_kinds(rng, experts)
    consistent, plain = kinds == CONSISTENT, kinds == BACKGROUND
    popularity = np.where(plain, POPULARITY, HOT_POPULARITY)
    drift = np.where(plain, DRIFT, HOT_DRIFT)
    noise = popularity * rng.standard_normal(experts)
    load = np.exp(noise + drift * _ar1(rng, steps, experts))
    pause = _markov(rng, steps, experts, 1 - CONSISTENT_ACTIVE, CALM_STEPS)
    groups = max(1, int(kinds.max()))
    burst = _markov(rng, steps, groups, TEMPORAL_ACTIVE / JOINS, BURST_STEPS)
    member = burst[:, np.maximum(kinds - TEMPORAL, 0)] & (kinds >= TEMPORAL)
    joins = rng.random((steps, experts)) < JOINS
    hot = np.where(consistent, ~pause, member & joins)

    level = np.where(consistent, CONSISTENT_LOAD, TEMPORAL_LOAD) / experts
    taken = np.where(hot, load * level, 0.0)
    total = taken.sum(axis=1, keepdims=True)
    taken *= np.minimum(1.0, HOT_LIMIT / np.maximum(total, HOT_LIMIT))
    calm = np.where(hot, 0.0, load * np.where(kinds >= TEMPORAL, CALM_LOAD, 1.0))
    room = 1.0 - taken.sum(axis=1, keepdims=True)
    weight = calm.sum(axis=1, keepdims=True)
    left = np.divide(calm * room, weight, out=np.zeros_like(calm), where=weight > 0)
    return np.asarray(taken + left)


def _ar1(rng: np.random.Generator, steps: int, width: int) -> Floats:
    """Stationary AR(1) paths of unit variance ``[steps, width]``."""
    memory = np.exp(-1.0 / DRIFT_STEPS)
    noise = rng.standard_normal((steps, width))
    noise[1:] *= np.sqrt(1.0 - memory**2)
    for t in range(1, steps):
        noise[t] += memory * noise[t - 1]
    return noise


def _markov(
    rng: np.random.Generator, steps: int, width: int, on: float, length: float
) -> NDArray[np.bool_]:
    """On/off chains ``[steps, width]``: `on` of the time on, `length` steps at once."""
    uniform = rng.random((steps, width))
    stop, start = 1.0 / length, on / (1.0 - on) / length
    state = uniform < on
    for t in range(1, steps):
        state[t] = np.where(state[t - 1], uniform[t] >= stop, uniform[t] < start)
    return state
