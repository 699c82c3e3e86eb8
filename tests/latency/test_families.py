"""Every latency family: its formula, its refusals, and the kernel against `us`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.latency import Line, Regimes, Roofline, TileActive, TokenCurve, affine
from gemopt.latency.base import features
from gemopt.latency.tables import MAX_CELLS, compile_tables
from tests.strategies import FAMILIES

NAN, INF = math.nan, math.inf


def kernel_us(model, shares, step_tokens):
    """Latency by the kernel for shares ``[steps, experts]``."""
    from gemopt.cost.sum_kernels import gpu_sums_into, rows_into
    from gemopt.latency.kernels import latencies_into

    tables = compile_tables([model])
    steps = len(shares)
    row, same = np.empty((1, steps), np.int64), np.empty(1, np.bool_)
    rows_into(tables, np.asarray(step_tokens, np.int64), row, same)
    tokens, active, tiles, out = np.empty((4, steps))
    held = np.arange(shares.shape[1])
    columns = np.ascontiguousarray(shares.T, dtype=np.float64)
    gpu_sums_into(columns, tables.tile[row[0]], held, tokens, active, tiles)
    latencies_into(tables, row[0], same[0], tokens, active, tiles, out)
    return out


@pytest.mark.parametrize("family", FAMILIES)
@given(st.data())
def test_kernel_equals_us(family, data):
    """The compiled latency equals the numpy formula at random shares."""
    model = data.draw(FAMILIES[family])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shares = rng.integers(0, 200, (30, 4)) * rng.choice([0.0, 0.5, 1.0], (30, 4))
    steps = rng.integers(0, 400, 30)
    expected = model.us(shares, steps)
    assert expected.shape == (30,)
    assert (expected >= -1e-9).all()
    np.testing.assert_allclose(
        kernel_us(model, shares, steps), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("interpolation", ["step", "linear"])
@pytest.mark.parametrize("shift", [0.0, 1 / 3])
def test_curve_at_its_points(interpolation, shift):
    """At every point and one token beside it kernel and formula agree, grid or not."""
    tokens = [x + shift for x in (16, 32, 48, 1024, 1040)]
    curve = TokenCurve(zip(tokens, (5, 9, 7, 30, 20), strict=True), interpolation)
    tables = compile_tables([curve])
    assert (tables.grid_inverse[0] > 0) == (shift == 0.0)
    near = np.array(
        [[x + d] for x in [0, *tokens, 5000] for d in (-1, 0, 1) if x + d >= 0]
    )
    np.testing.assert_allclose(kernel_us(curve, near, near[:, 0]), curve.us(near))
    at = curve.at(tokens)
    np.testing.assert_allclose(at, [5, 9, 7, 30, 20])


def test_grid_is_left_out_when_too_large():
    """A curve with more cells than the limit falls back to the binary search."""
    wide = TokenCurve([(1, 1), (2, 2), (2 * MAX_CELLS, 3)])
    assert compile_tables([wide]).grid_inverse[0] == 0.0
    assert compile_tables([TokenCurve([(1, 1), (1e300, 2)])]).grid_inverse[0] == 0.0
    narrow = TokenCurve([(2, 1), (4, 2), (2 * MAX_CELLS, 3)])
    assert compile_tables([narrow]).grid_inverse[0] == 0.5


def test_step_curve_takes_the_next_point_up():
    """A step curve holds the value of the next measured point."""
    curve = TokenCurve([(64, 10), (128, 15)])
    np.testing.assert_allclose(curve.at([0, 1, 64, 65, 128]), [10, 10, 10, 15, 15])


@pytest.mark.parametrize("interpolation", ["step", "linear"])
def test_above_the_last_point(interpolation):
    """The line through the last two points goes on, but never falls."""
    rising = TokenCurve([(10, 10), (20, 30)], interpolation)
    assert rising.at(40) == pytest.approx(70)
    falling = TokenCurve([(10, 30), (20, 10)], interpolation)
    assert falling.at(40) == pytest.approx(10)
    assert falling.at(20) == pytest.approx(10)


@pytest.mark.parametrize("interpolation", ["step", "linear"])
def test_single_point_is_constant(interpolation):
    """One point means the same latency at any load."""
    curve = TokenCurve([(64, 7)], interpolation)
    np.testing.assert_allclose(curve.at([0, 64, 1000]), 7)


def test_point_at_zero_tokens():
    """A step curve whose first point is 0 tokens uses it for 0 tokens alone."""
    curve = TokenCurve([(0, 1), (8, 5)])
    np.testing.assert_allclose(curve.at([0, 0.5, 8]), [1, 5, 5])
    np.testing.assert_allclose(
        kernel_us(curve, np.array([[0.0], [0.5], [8.0]]), [0, 1, 8]), [1, 5, 5]
    )


def test_affine_is_one_piece():
    """`affine` is a line from 0 tokens on, in a single piece."""
    line = affine(5, 0.25)
    np.testing.assert_allclose(line.at([0, 4, 1000]), [5, 6, 255])
    assert len(line.rows()[0].upto) == 1


def test_features():
    """Tokens, active experts and tiles, by hand."""
    tokens, active, tiles = features([[0, 1, 64, 65, 0.5]], 64)
    assert (tokens[0], active[0], tiles[0]) == (130.5, 4, 5)


def test_tile_active_by_hand():
    """Base 3, 2 an active expert, 5 a tile of 8, 0.1 a token."""
    model = TileActive(3, 2, 5, 0.1, tile=8)
    assert model.us([0, 0]) == pytest.approx(3)
    assert model.us([8, 9]) == pytest.approx(3 + 2 * 2 + 5 * 3 + 1.7)


def test_roofline_by_hand():
    """The hard roof is the larger line; the smooth one follows its formula."""
    memory, compute = Line(2, per_active_us=3), Line(per_token_us=0.5)
    shares = [10, 10]  # memory 8, compute 10
    assert Roofline(memory, compute).us(shares) == pytest.approx(10)
    smooth = Roofline(memory, compute, power=2).us(shares)
    assert smooth == pytest.approx(math.hypot(8, 10))


def test_smooth_roof_of_nothing_is_zero():
    """Two lines that are both zero at some load give 0, not NaN."""
    model = Roofline(Line(per_token_us=1), Line(per_token_us=2), power=3)
    assert model.us([0.0]) == 0
    assert kernel_us(model, np.array([[0.0]]), [0])[0] == 0


def test_regimes_choose_by_the_step():
    """The step chooses the part, its limit included; the last part goes on."""
    small, large = affine(1, 0), TileActive(0, 0, 10, tile=8)
    model = Regimes([(100, small), (200, large)])
    shares = np.full((5, 2), 8.0)
    np.testing.assert_allclose(
        model.us(shares, [0, 100, 101, 200, 999]), [1, 1, 20, 20, 20]
    )
    assert model.us([8.0, 8.0], 100) == 1
    with pytest.raises(ValueError, match="step_tokens"):
        model.us([1.0])


def test_regimes_mix_families():
    """Curves, lines and roofs in one model agree with the kernel at each switch."""
    model = Regimes(
        [
            (10, TokenCurve([(4, 9), (8, 12)], "linear")),
            (20, TileActive(1, 2, 3, tile=4)),
            (30, Roofline(Line(5), Line(per_token_us=1), power=2)),
            (math.inf, TokenCurve([(1 / 3, 1), (7.7, 2)])),
        ]
    )
    steps = np.arange(50)
    shares = np.stack([steps % 9, steps % 5], axis=1).astype(float)
    np.testing.assert_allclose(kernel_us(model, shares, steps), model.us(shares, steps))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenCurve([]), "points is empty"),
        (lambda: TokenCurve([(2, 1), (1, 1)]), "tokens = 1.0 after 2.0"),
        (lambda: TokenCurve([(1, 1), (1, 2)]), "no repeats"),
        (lambda: TokenCurve([(1, 1), (1 + 1e-9, 2)], "linear"), "no repeats"),
        (lambda: TokenCurve([(1, NAN)]), "must be finite"),
        (lambda: TokenCurve([(INF, 1)]), "must be finite"),
        (lambda: TokenCurve([(1, -2)]), "latency = -2.0 us < 0"),
        (lambda: TokenCurve([(-1, 2)]), "tokens = -1.0 < 0"),
        (lambda: TokenCurve([(1, 0), (2, 0)]), "zero latency everywhere"),
        (lambda: TokenCurve([(1, 1)], "cubic"), "'cubic' must be step or linear"),
        (lambda: TileActive(), "all coefficients are zero"),
        (lambda: TileActive(base_us=-1), "base_us = -1 "),
        (lambda: TileActive(1, per_token_us=NAN), "per_token_us = nan"),
        (lambda: TileActive(1, tile=0), "tile = 0"),
        (lambda: TileActive(1, tile=1.5), "tile = 1.5"),
        (lambda: TileActive(1, tile=True), "tile = True"),
        (lambda: Line(per_active_us=INF), "per_active_us = inf"),
        (lambda: Roofline(Line(), Line()), "both lines are zero"),
        (lambda: Roofline(Line(1), Line(1), power=1.0), "power = 1.0"),
        (lambda: Roofline(Line(1), Line(1), power=65.0), "power = 65.0"),
        (lambda: Roofline(Line(1), Line(1), tile=-1), "tile = -1"),
        (lambda: Regimes([]), "parts is empty"),
        (lambda: Regimes([(0, affine(1, 1))]), "max_step_tokens = 0.0"),
        (lambda: Regimes([(NAN, affine(1, 1))]), "max_step_tokens = nan"),
        (lambda: Regimes([(9, affine(1, 1)), (9, affine(1, 1))]), "9.0 after 9.0"),
        (lambda: Regimes([(9, Regimes([(9, affine(1, 1))]))]), "Regimes again"),
    ],
)
def test_refusals(make, message):
    """Wrong input raises ValueError naming the field and the value."""
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


def test_equal_models_are_equal():
    """Models compare and hash by value, which groups GPUs into classes."""
    assert affine(1, 2) == affine(1, 2)
    assert hash(TokenCurve([(1, 2)])) == hash(TokenCurve([(1.0, 2.0)]))
    assert affine(1, 2) != affine(1, 3)
