"""Place all layers once for every sample of a batch, one copy after the other."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gemopt import StopReason
from gemopt.arrays import Floats, Ints
from gemopt.parts.repair import EMPTY
from gemopt_policy_gradient.policy import FEATURES, Policy
from gemopt_policy_gradient.problem import Problem


@dataclass(frozen=True)
class Rollout:
    """A batch of sampled placements and all that its gradient needs.

    Attributes
    ----------
    rows
        Expert of each slot, int64 ``[samples, layers, slots]``; `EMPTY` where all
        copies left had one on that GPU already.
    features, allowed
        Of every choice, ``[slots, samples, layers, gpus(, FEATURES)]``.
    chosen
        GPU of every choice, int64 ``[slots, samples, layers]``.
    real
        Choices that had an allowed GPU, bool ``[slots, samples, layers]``.
    """

    rows: Ints
    features: Tensor
    allowed: Tensor
    chosen: Tensor
    real: Tensor


def rollout(
    problem: Problem,
    policy: Policy,
    noise: Floats,
    poll: Callable[[], StopReason | None],
) -> Rollout | StopReason:
    """Sample one placement of every layer for each sample.

    Adding Gumbel noise to the log-probabilities and taking the largest draws from
    them; zero noise takes the most probable GPU every time.

    Parameters
    ----------
    noise
        float64 ``[slots, samples, layers, gpus]``.
    poll
        Asked before every copy; a reason drops the batch and is handed back.
    """
    slots, samples, layers, gpus = noise.shape
    steps = len(problem.weights)
    load = np.zeros((samples, layers, gpus, steps))
    free = np.broadcast_to(problem.slots, (samples, layers, gpus)).copy()
    holds = np.zeros((samples, layers, gpus, problem.shares.shape[1]), dtype=np.bool_)
    first = np.concatenate([[0], np.cumsum(problem.slots)[:-1]])
    rows = np.full((samples, layers, slots), EMPTY, dtype=np.int64)
    features = np.zeros((slots, samples, layers, gpus, FEATURES))
    allowed = np.zeros((slots, samples, layers, gpus), dtype=np.bool_)
    chosen = np.zeros((slots, samples, layers), dtype=np.int64)
    each, layer = np.ogrid[:samples, :layers]
    for turn in range(slots):
        reason = poll()
        if reason is not None:
            return reason
        expert = problem.items[:, turn]
        share = problem.shares[np.arange(layers), expert]
        allowed[turn] = (free > 0) & ~holds[each, layer, :, expert[None, :]]
        describe(problem, load, free, share, turn / slots, features[turn])
        score = _scores(policy, features[turn], expert, allowed[turn]) + noise[turn]
        gpu = chosen[turn] = score.argmax(axis=2)
        able = allowed[turn].any(axis=2)
        at, of = np.nonzero(able)
        to, what = gpu[at, of], expert[of]
        slot = first[to] + problem.slots[to] - free[at, of, to]
        rows[at, of, slot] = what
        holds[at, of, to, what] = True
        free[at, of, to] -= 1
        load[at, of, to] += share[of]
    return Rollout(
        rows,
        torch.from_numpy(features),
        torch.from_numpy(allowed),
        torch.from_numpy(chosen),
        torch.from_numpy(allowed.any(axis=3)),
    )


def _scores(policy: Policy, features: Floats, expert: Ints, allowed: Floats) -> Floats:
    layers = torch.arange(len(expert)).expand(features.shape[:2])
    with torch.no_grad():
        found = policy(
            torch.from_numpy(features),
            layers,
            torch.from_numpy(expert).expand(features.shape[:2]),
            torch.from_numpy(allowed | ~allowed.any(axis=2, keepdims=True)),
        )
    return np.asarray(found.numpy())


def describe(
    problem: Problem,
    load: Floats,
    free: Ints,
    share: Floats,
    progress: float,
    out: Floats,
) -> None:
    """Write the features of every GPU as home of the next copy.

    All of them are without units: 0 the greedy cost, which is how much more the
    slowest GPU takes than with the best choice, in times that this copy alone takes,
    plus a tenth of 1; 1 the mean finish of the GPU after that of the earliest, in the
    same measure; 2 the part of its slots that is free; 3 how the copy and the load of
    the GPU vary together over the steps, -1 to 1; 4 how much is placed; 5 the copy's
    part of one copy of every expert in tokens.

    Parameters
    ----------
    load
        Tokens of each GPU so far, ``[samples, layers, gpus, steps]``.
    free
        Free slots, ``[samples, layers, gpus]``.
    share
        Tokens of the copy, ``[layers, steps]``.
    progress
        Part of the slots that is filled.
    out
        ``[samples, layers, gpus, FEATURES]``.
    """
    weights = problem.weights
    finish = problem.base[:, None] + problem.slope[:, None] * load
    new = finish + problem.slope[:, None] * share[:, None, :]
    slowest = finish.max(axis=2, keepdims=True)
    alone = problem.slope.mean() * (share @ weights) + 1e-12
    rise = (np.maximum(new - slowest, 0.0) @ weights) / alone[:, None]
    mean = (new @ weights) / alone[:, None]
    out[..., 1] = np.minimum(mean - mean.min(axis=2, keepdims=True), 10.0)
    out[..., 0] = rise - rise.min(axis=2, keepdims=True) + 0.1 * out[..., 1]
    out[..., 2] = free / np.maximum(problem.slots, 1)
    apart = load - (load @ weights)[..., None]
    own = share - (share @ weights)[:, None]
    both = (apart * own[:, None, :]) @ weights
    spread = np.sqrt((apart**2 @ weights) * (own**2 @ weights)[:, None])
    out[..., 3] = both / np.maximum(spread, 1e-12)
    out[..., 4] = progress
    tokens = problem.shares.sum(axis=1) @ weights
    out[..., 5] = (share @ weights / np.maximum(tokens, 1e-12))[:, None]
