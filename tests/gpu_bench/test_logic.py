"""Plans, fits and verdicts: no GPU, no torch."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.latency import Line, Regimes, Roofline, TileActive
from gemopt.traffic.shapes import SHAPES
from gemopt_gpu_bench.backends.tiles import (
    GROUP,
    TABLES_FILE,
    TileTable,
    default_table,
    known_table,
)
from gemopt_gpu_bench.fit import Samples, fit_all
from gemopt_gpu_bench.fit.roofline import fit_roofline
from gemopt_gpu_bench.fit.tile_active import fit_tile_active
from gemopt_gpu_bench.fit.token_curve import curve, staircase
from gemopt_gpu_bench.measure.bisect import bisect_curve
from gemopt_gpu_bench.measure.plateaus import plateaus
from gemopt_gpu_bench.measure.sampling import (
    Popularity,
    Sparse,
    balanced,
    boundary_tokens,
    range_limits,
    vector_loads,
)
from gemopt_gpu_bench.profile.compare import Verdict, classify, compare_profiles
from gemopt_gpu_bench.stats import errors, summary

TABLE = default_table(16, 2048, 768)
RNG = np.random.default_rng(0)


def _vectors(count: int) -> np.ndarray:
    means = 10 ** RNG.uniform(0, 3, count)
    return np.array([RNG.poisson(m * RNG.dirichlet(np.ones(8)) * 8) for m in means]) + (
        np.arange(8) == 0
    )


@given(experts=st.integers(1, 64), limit=st.integers(20, 40))
def test_plan_has_both_sides_of_every_switch(experts: int, limit: int) -> None:
    """The plan is short, in range, and holds ramp, switches and the end."""
    tokens = boundary_tokens(TABLE, experts, 8192, limit)
    assert tokens == sorted(set(tokens))
    assert tokens[0] == 1
    assert tokens[-1] == 8192
    ends = {flat.end for flat in plateaus(TABLE, experts, 8192) if flat.rank == 0}
    assert ends | {2**i for i in range(6) if 2**i <= experts} <= set(tokens)
    assert len(tokens) <= max(limit, 3 + len(ends) + experts.bit_length())


@given(experts=st.integers(1, 64), tokens=st.integers(2, 20_000))
def test_plateaus_tile_the_loads(experts: int, tokens: int) -> None:
    """Plateaus follow each other up to the end; all loads of one have equal tiles."""
    top = experts + tokens
    flats = plateaus(TABLE, experts, top)
    assert [flat.low for flat in flats] == [experts, *(f.end for f in flats[:-1])]
    assert flats[-1].end == top
    for flat in flats:
        assert flat.low < flat.begin <= flat.end
        for load in (flat.begin, (flat.begin + flat.end) // 2, flat.end):
            config = TABLE.config(load / experts)
            assert config == flat.config
            rows = -(-load // experts)
            assert -(-rows // config.block_m) == flat.tiles
            tail = (rows - 1) % config.block_m < config.tail
            assert flat.full == (not tail)


@given(experts=st.integers(1, 40), tokens=st.integers(1, 9000))
def test_balanced_loads_add_up(experts: int, tokens: int) -> None:
    """A balanced load sums to its tokens and differs by one at most."""
    load = balanced("boundary", experts, tokens)
    assert load.tokens == tokens
    assert max(load.counts) - min(load.counts) <= 1


def test_vectors_stay_in_their_range_and_buffers() -> None:
    """Drawn vectors keep to the ranges of the plan and to the GPU's buffers."""
    limits = range_limits(TABLE, 512.0)
    rng = np.random.default_rng(1)
    for source in (Popularity.generated(16, 64, 20_000, rng), Sparse(16, 8192)):
        loads = vector_loads("vector", source, limits, 60, 512.0, rng)
        assert len(loads) == 60
        for i, load in enumerate(loads):
            part = i % len(limits)
            assert load.mean_tokens <= min(limits[part], 512.0)
            assert 0 < load.tokens <= 20_000


def test_popularity_of_a_trace_is_that_of_the_trace() -> None:
    """Counts drawn from a trace follow its popularities."""
    counts = np.zeros((16, 1, 4), dtype=np.int64)
    counts[:, 0] = [60, 20, 15, 5]
    source = Popularity.from_trace(counts, 4, 4, 10_000)
    rng = np.random.default_rng(2)
    total = np.sort(np.sum([source.draw(100.0, rng) for _ in range(200)], axis=0))
    drawn = np.array([np.sort(source.draw(1000.0, rng)) for _ in range(50)]).sum(0)
    np.testing.assert_allclose(drawn / drawn.sum(), [0.05, 0.15, 0.2, 0.6], atol=0.01)
    assert total.sum() > 0
    with pytest.raises(ValueError, match="needs 8"):
        Popularity.from_trace(counts[:3], 4, 4, 100)
    with pytest.raises(ValueError, match="fewer than 9 per GPU"):
        Popularity.from_trace(counts, 9, 9, 100)


def test_fits_recover_the_truth() -> None:
    """Both families find the coefficients that made noiseless points."""
    counts = _vectors(200)
    line = TileActive(20.0, 3.0, 1.5, 0.02, 64)
    found = fit_tile_active(counts, line.us(counts), 64)
    assert errors(found.us(counts), line.us(counts)).worst < 1e-6
    roof = Roofline(Line(20, 5, 0, 0), Line(12, 0, 2.0, 0.05), 64, 4.0)
    near = fit_roofline(counts, roof.us(counts), 64)
    assert errors(near.us(counts), roof.us(counts)).mape < 0.02
    with pytest.raises(ValueError, match="no points"):
        fit_tile_active(np.empty((0, 8)), [], 64)


def test_best_family_comes_first_and_ranges_become_regimes() -> None:
    """Points of two regimes give `Regimes`, judged on points apart."""
    low, high = TileActive(20, 3, 0.2, 0, 16), TileActive(30, 1, 6, 0, 64)
    counts = _vectors(300)
    mean = counts.sum(axis=1) / 8
    us = np.where(mean <= 32, low.us(counts), high.us(counts))
    halves = [Samples(counts[i::2], mean[i::2], us[i::2]) for i in range(2)]
    none = Samples(counts[:0], mean[:0], us[:0])
    fits = fit_all(
        *halves, none, limits=[32.0, np.inf], table=None, total=8,
        curves={"line": curve([1, 9000], [10.0, 900.0], "linear")},
    )  # fmt: skip
    assert isinstance(fits[0].model, Regimes)
    assert fits[0].validation.mape < 0.05
    assert [f.validation.mape for f in fits] == sorted(f.validation.mape for f in fits)
    with pytest.raises(ValueError, match="0 points to fit"):
        fit_all(none, halves[1], none, limits=[np.inf], table=None, total=8, curves={})


@pytest.mark.parametrize("experts", [2, 4, 8, 16])
def test_staircase_from_few_points_is_the_whole_one(experts: int) -> None:
    """A kernel that pays for tiles and groups of tiles is rebuilt from 20 points."""

    def truth(tokens: int) -> float:
        share, rest = divmod(tokens, experts)
        rows = [share + (e < rest) for e in range(experts)]
        block = TABLE.config(tokens / experts).block_m
        tiles = np.ceil(np.array(rows) / block)
        groups = np.ceil(tiles / GROUP)
        return float(40.0 + (2.0 * tiles * block / 128 + 3.0 * groups).sum())

    marks = boundary_tokens(TABLE, experts, 8192)
    assert len(marks) <= 20
    model = staircase(marks, [truth(t) for t in marks], TABLE, experts, 8192)
    dense = np.arange(1, 8193, 7)
    found = errors(model.at(dense), [truth(int(t)) for t in dense])
    assert found.mape < 0.01
    with pytest.raises(ValueError, match="points"):
        staircase([], [], TABLE, experts, 8192)


def test_bisection_finds_a_jump() -> None:
    """A jump at an odd place is bracketed within the budget."""

    def jump(tokens: int) -> float:
        return 50.0 if tokens <= 700 else 90.0

    known = bisect_curve(jump, 8192, limit=40)
    below = max(t for t, us in known.items() if us == 50.0)
    above = min(t for t, us in known.items() if us == 90.0)
    assert above - below < 20
    assert len(known) <= 40


@pytest.mark.parametrize(
    ("interval", "spread", "verdict"),
    [
        ((1.05, 1.07), 0.01, Verdict.SLOWER),
        ((0.90, 0.95), 0.01, Verdict.FASTER),
        ((0.995, 1.005), 0.01, Verdict.SAME),
        ((0.99, 1.05), 0.01, Verdict.AMBIGUOUS),
        ((1.01, 1.03), 0.05, Verdict.SAME),
    ],
)
def test_verdicts(
    interval: tuple[float, float], spread: float, verdict: Verdict
) -> None:
    """A verdict needs the whole interval beyond a card's own spread."""
    assert classify(sum(interval) / 2, *interval, spread).verdict is verdict


def test_profiles_are_compared_at_common_loads() -> None:
    """A card 10 % slower everywhere is slower; the advice says so."""
    loads = [(float(t), (t,)) for t in range(1, 21)]
    first = {load: [10.0, 10.1, 10.0] for load in loads}
    slow = {load: [11.0, 11.1, 11.0] for load in loads[:15]}
    found = compare_profiles(first, slow, 0.01)
    assert found.overall.verdict is Verdict.SLOWER
    assert "+10.0 %" in found.advice()
    assert "equal" in compare_profiles(first, first, 0.05).advice()
    with pytest.raises(ValueError, match="share no load"):
        compare_profiles(first, {}, 0.01)


def test_tables_round_trip_and_summaries_refuse_nothing() -> None:
    """Tiles survive JSON; empty samples are refused."""
    assert TileTable.from_json(TABLE.to_json()) == TABLE
    with pytest.raises(ValueError, match="infinite limit"):
        TileTable(TABLE.rows[:1])
    assert summary([1.0, 2.0, 3.0]).median == 2.0
    with pytest.raises(ValueError, match="samples is empty"):
        summary([])
    with pytest.raises(ValueError, match="positive"):
        errors([1.0], [0.0])


def test_every_stored_table_loads() -> None:
    """Each tuned table parses, ends without limit, and belongs to a known shape."""
    keys = json.loads(TABLES_FILE.read_text())
    assert keys
    for key in keys:
        hidden, rest = key.split("x")
        intermediate, experts = rest.split("e")
        sizes = int(hidden), int(intermediate), int(experts)
        table = known_table(*sizes)
        assert TileTable.from_json(table.to_json()) == table
        assert table.config(1e9).block_m in (16, 32, 64, 128)
        assert any((s.hidden, s.intermediate) == sizes[:2] for s in SHAPES.values())
