"""Tests of synthetic traffic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemopt.traffic import (
    CONSISTENT,
    FAMILIES,
    SHAPES,
    TEMPORAL,
    expert_kinds,
    generate,
    shape,
)

HOT = 2.0  # fair loads, as decode traces of real models are read


def _kinds(seed: int, layers: int, experts: int) -> np.ndarray:
    rngs = (np.random.default_rng([seed, layer]) for layer in range(layers))
    return np.array([expert_kinds(rng, experts) for rng in rngs])


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 12)),
    tokens=st.integers(1, 40),
    top_k=st.integers(1, 12),
    family=st.sampled_from(sorted(FAMILIES)),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_counts_add_up(sizes, tokens, top_k, family, seed):
    """Every layer of a step sums to tokens * top_k; no expert gets a token twice."""
    top_k = min(top_k, sizes[2])
    counts = generate(*sizes, tokens=tokens, top_k=top_k, family=family, seed=seed)
    assert counts.shape == sizes and counts.dtype == np.int64
    assert (counts.sum(axis=2) == tokens * top_k).all()
    assert counts.min() >= 0 and counts.max() <= tokens


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_seeds_repeat_and_differ(family):
    """A seed repeats to the byte, another differs, fewer layers are the first."""
    sizes = {"tokens": 64, "top_k": 2, "family": family}
    first = generate(32, 3, 16, seed=5, **sizes)
    assert first.tobytes() == generate(32, 3, 16, seed=5, **sizes).tobytes()
    assert (first[:, :2] == generate(32, 2, 16, seed=5, **sizes)).all()
    assert (first != generate(32, 3, 16, seed=6, **sizes)).any()


@pytest.mark.parametrize(
    ("experts", "top_k", "tokens"), [(16, 1, 256), (64, 8, 64), (128, 8, 256)]
)
def test_statistics_of_the_paper(experts, top_k, tokens):
    """Consistent are hot in ~85 % of steps, temporal in ~17 % with ~3x tokens."""
    layers, fair = 32, tokens * top_k / experts
    counts = generate(512, layers, experts, tokens=tokens, top_k=top_k, seed=7)
    kinds = _kinds(7, layers, experts)
    hot = counts > HOT * fair
    temporal = kinds >= TEMPORAL
    assert 0.81 <= hot[:, kinds == CONSISTENT].mean() <= 0.89
    assert 0.14 <= hot[:, temporal].mean() <= 0.20
    assert 2.7 <= counts[:, temporal][hot[:, temporal]].mean() / fair <= 3.3
    assert hot[:, kinds == 0].mean() < 0.08


def test_bursts_are_correlated_within_groups():
    """Temporal experts burst with their group and independently of other groups."""
    kinds = _kinds(1, 8, 64)
    counts = generate(1024, 8, 64, tokens=256, top_k=8, seed=1)
    same, other = [], []
    for layer in range(8):
        members = np.flatnonzero(kinds[layer] >= TEMPORAL)
        group = kinds[layer, members]
        matrix = np.corrcoef(counts[:, layer, members].T)
        off_diagonal = ~np.eye(len(members), dtype=bool)
        alike = group[:, None] == group
        same += matrix[alike & off_diagonal].tolist()
        other += matrix[~alike].tolist()
    assert np.mean(same) > 0.7
    assert abs(np.mean(other)) < 0.1


def test_bursts_last_and_loads_drift():
    """Counts of following steps are correlated; those of far steps much less."""
    counts = generate(1024, 8, 64, tokens=256, top_k=8, seed=2).astype(float)
    centred = counts - counts.mean(axis=0)

    def lag(steps: int) -> float:
        product = (centred[steps:] * centred[:-steps]).mean(axis=0)
        return float((product / centred.var(axis=0)).mean())

    assert lag(1) > 0.3
    assert lag(1) > lag(8) > lag(64)


def test_popularity_is_skewed_in_bursts_and_flat_in_uniform():
    """Families differ in skew: hottest expert over mean is high, 1 and zipf's value."""
    sizes = {"tokens": 4096, "top_k": 8, "seed": 0}
    hottest = {
        name: float(
            (generate(128, 4, 64, family=name, **sizes).mean(axis=0).max(axis=1)).mean()
            / 512
        )
        for name in FAMILIES
    }
    assert 2.5 <= hottest["bursts"] <= 4.5  # what gpt-oss-20b's traces show
    assert hottest["uniform"] < 1.05
    assert 7.5 < hottest["zipf"] <= 8.0  # 64 / H(64) = 13.5, capped at one per token


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps = 0 must be at least 1"),
        ({"layers": -1}, "layers = -1"),
        ({"experts": 0}, "experts = 0"),
        ({"tokens": 0}, "tokens = 0"),
        ({"top_k": 9}, "top_k = 9 is more than the 8 experts"),
        ({"seed": -1}, "seed = -1"),
        ({"family": "burst"}, "family 'burst' is unknown; known: bursts"),
    ],
)
def test_bad_sizes_are_refused(change, message):
    """Every bad argument is named with its value."""
    sizes = {"steps": 2, "layers": 1, "experts": 8, "tokens": 4, "top_k": 2}
    sizes.update(change)
    with pytest.raises(ValueError, match=message):
        generate(**sizes)


def test_shapes_of_the_papers_models():
    """Shapes are the published ones; layer ids skip DeepSeek's dense layers."""
    assert len(SHAPES) == 7
    found = {s.name: (s.experts, s.top_k, s.layers) for s in SHAPES.values()}
    assert found["Mixtral-8x7B"] == (8, 2, 32)
    assert found["Mixtral-8x22B"] == (8, 2, 56)
    assert found["Llama-4-Scout"] == (16, 1, 48)
    assert found["Hunyuan-A13B"] == (64, 8, 32)
    assert found["Qwen3-30B-A3B"] == (128, 8, 48)
    assert found["DeepSeek-V3"] == (256, 8, 58)
    assert found["gpt-oss-20b"] == (32, 4, 24)
    assert list(shape("deepseek-v3").layer_ids) == list(range(3, 61))


def test_unknown_model_names_the_nearest():
    """An unknown model is refused with the nearest name."""
    with pytest.raises(ValueError, match=r"did you mean 'Mixtral-8x7B'\?"):
        shape("mixtral8x7b")
