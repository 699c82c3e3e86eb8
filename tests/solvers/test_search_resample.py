"""Resampled steps: the same bursts at other times, and only where that is right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gemopt
from gemopt import Instance
from gemopt.latency import Regimes, affine
from gemopt.traffic import synthetic_instance
from gemopt_solvers.search.evaluation_steps.clusters import (
    agreement,
    clusters_of,
    covariance_into,
    repeated,
    shifted_into,
)
from gemopt_solvers.search.evaluation_steps.resample import (
    BLOCKS,
    blocks_into,
    can_resample,
    kept_blocks,
    resampled,
    shares_into,
)


def bursts(rng: np.random.Generator, groups: int, members: int) -> NDArray[np.float64]:
    """Shares of groups of experts that burst together ``[experts, 64]``."""
    load = np.ones((groups, members, 64))
    load += 6.0 * (rng.random((groups, 1, 64)) < 0.2)
    load *= np.exp(0.05 * rng.standard_normal(load.shape))
    flat = load.reshape(-1, 64)
    return np.asarray(flat / flat.sum(axis=0))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(3, 30))
@settings(max_examples=30, deadline=None)
def test_blocks_equal_numpy(seed: int, stride: int, steps: int) -> None:
    """Blocks are rolled shares of every cluster, at the totals of their steps."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 50, (6, steps))
    total, cluster = tokens.sum(axis=0), rng.integers(0, 3, 6)
    shifts = rng.integers(0, steps, (4, 3))
    starts = np.arange(4) % min(stride, steps)
    share, wanted = tokens / np.maximum(total, 1), []
    for start, shift in zip(starts, shifts, strict=True):
        moved = np.stack([np.roll(share[e], shift[cluster[e]]) for e in range(6)])
        moved = moved[:, start::stride].astype(np.float32).astype(np.float64)
        wanted.append(moved / np.maximum(moved.sum(axis=0), 1e-300))
    whole = np.concatenate([total[start::stride] for start in starts])
    exact = np.concatenate(wanted, axis=1) * whole
    out = np.empty(exact.shape, dtype=np.int64)
    blocks_into(tokens, total, cluster, shifts, starts, stride, out)
    assert np.abs(out - exact).max() <= 0.5 + 1e-6


def test_unshifted_blocks_are_the_trace() -> None:
    """A shift of 0 gives back every count."""
    tokens = np.random.default_rng(0).integers(0, 900, (5, 40))
    out = np.empty_like(tokens)
    blocks_into(
        tokens, tokens.sum(axis=0), np.arange(5), np.zeros((1, 5), np.int64),
        np.zeros(1, np.int64), 1, out,
    )  # fmt: skip
    np.testing.assert_array_equal(out, tokens)


@pytest.mark.parametrize("width", [1, 3, 4])
def test_shares_equal_numpy(width: int) -> None:
    """Shares of windows are their tokens over the tokens of all experts."""
    tokens = np.random.default_rng(1).integers(0, 9, (4, 10))
    out = np.empty((4, -(-10 // width)))
    shares_into(tokens, tokens.sum(axis=0), width, out)
    sums = np.add.reduceat(tokens, np.arange(0, 10, width), axis=1)
    np.testing.assert_allclose(out, sums / sums.sum(axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_what_bursts_together(seed: int) -> None:
    """Planted groups are found, whole and apart."""
    share = bursts(np.random.default_rng(seed), 6, 4)
    cluster, count = clusters_of(share)
    assert count == 6
    assert all(len(set(group)) == 1 for group in cluster.reshape(6, 4).tolist())


def test_covariances_and_shifts_equal_numpy() -> None:
    """The kernels behind the agreement equal their numpy twins."""
    rng = np.random.default_rng(2)
    share, cluster = bursts(rng, 3, 2), np.array([0, 0, 1, 1, 2, 2])
    out = np.empty((6, 6))
    covariance_into(share, out)
    np.testing.assert_allclose(out, np.cov(share, bias=True), atol=1e-15)
    moved, shift = np.empty_like(share), np.array([0, 5, 63])
    shifted_into(share, cluster, shift, moved)
    rolled = np.stack([np.roll(share[e], shift[cluster[e]]) for e in range(6)])
    np.testing.assert_allclose(moved, rolled / rolled.sum(axis=0))
    one, two = rng.random((6, 6)), rng.random((6, 6))
    apart = np.tril(cluster[:, None] != cluster)
    wanted = (one * two)[apart].sum() / np.sqrt(
        (one[apart] ** 2).sum() * (two[apart] ** 2).sum()
    )
    assert agreement(one, two, np.zeros((6, 6)), cluster) == pytest.approx(wanted)


def test_halves_agree_on_what_is_no_chance() -> None:
    """Bursts that meet by chance do not repeat; bursts that take turns do."""
    rng = np.random.default_rng(3)
    chance = [bursts(rng, 12, 2) for _ in range(8)]
    turns = np.ones((12, 64))
    for e in range(12):  # 3 experts with each of 4 phases of 4 windows, all the time
        turns[e] += 3.0 * (np.arange(64) // 4 % 4 == e % 4) * rng.uniform(0.2, 1.8, 64)
    turns /= turns.sum(axis=0)

    def halves(share: NDArray[np.float64]) -> float:
        alone = np.arange(len(share))
        shift = rng.integers(64, size=(2, len(share)))
        return repeated(share, alone if share is turns else alone // 2, shift)

    assert np.mean([halves(share) for share in chance]) < 0.35
    assert halves(turns) > 0.6
    assert kept_blocks(turns, np.arange(12), 12, rng) == BLOCKS


def test_resampled_steps_count_as_much() -> None:
    """Weights sum to those of the trace, means stay near, and seeds repeat."""
    instance = synthetic_instance(128, 16, steps=256, layers=2)
    one, two = (resampled(instance, 1, 512, np.random.default_rng(7)) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.loads, two.loads)
    assert one.num_steps == 512
    assert one.weights.sum() == pytest.approx(256.0)
    ratio = one.loads[0].mean(axis=1) / instance.loads[1].mean(axis=1)
    assert np.abs(ratio - 1.0).max() < 0.25


def test_steps_that_cannot_be_shifted() -> None:
    """Short traces and weighted steps are judged as they are."""
    instance = synthetic_instance(16, 4, steps=128)
    assert can_resample(instance)
    assert not can_resample(instance.steps(0, 32))
    weighted = Instance.from_arrays(
        instance.counts, instance.latency, weights=np.arange(128.0)
    )
    assert not can_resample(weighted)


def test_answers_with_regimes_and_threads() -> None:
    """Rows that depend on the step's tokens work; threads change nothing."""
    rng = np.random.default_rng(4)
    counts = rng.poisson(rng.gamma(2.0, 20.0, (128, 3, 24)))
    models = [
        Regimes(((900, affine(20.0 * s, 0.3)), (10**9, affine(30.0, 0.2 * s))))
        for s in (1.0, 1.1, 0.9, 1.0)
    ]
    instance = Instance.from_arrays(counts, models, slots=[7] * 4)
    first, second = (gemopt.solve(instance, "search", jobs=n) for n in (1, 3))
    assert first.placement == second.placement
    linear = gemopt.solve(instance, "linear").objective
    assert first.objective < linear


def test_what_resampling_is_for() -> None:
    """It gives up some of the given steps' objective, and gains on the next ones."""
    given: list[float] = []
    later: list[float] = []
    for seed in range(4):
        whole = synthetic_instance(256, 64, steps=512, layers=2, seed=seed)
        seen, unseen = whole.split()
        on, off = (
            gemopt.solve(seen, "search", params={"resample": value}).placement
            for value in (True, False)
        )
        assert on is not None
        assert off is not None
        for instance, ratios in ((seen, given), (unseen, later)):
            one, two = (gemopt.evaluate(instance, p).objective for p in (on, off))
            ratios.append(one / two)
    assert np.mean(given) > 1.0
    assert np.mean(later) < 1.0
