"""The solver of the co-location bound: threads, and projections of low rank."""

from unittest.mock import patch

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gemopt import Instance
from gemopt.bounds.colocation import first_order, negative_part
from gemopt.bounds.colocation import two_threads as pairs
from gemopt.bounds.colocation.certificate import certified
from gemopt.bounds.colocation.first_order import _State, solve
from gemopt.bounds.colocation.negative_part import NegativePart
from gemopt.bounds.colocation.program import Program
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.latency import affine


def _program(experts: int, gpus: int) -> tuple[Program, np.ndarray]:
    """Bursting traffic on unequal GPUs, and M of a placement in order."""
    rng = np.random.default_rng(7)
    counts = rng.poisson(rng.lognormal(2, 1, (48, experts)))[:, None]
    models = [affine(60, 0.1 + 0.01 * (g % 3)) for g in range(gpus)]
    instance = Instance.from_arrays(counts, models)
    bound = water_filling(instance)[0]
    p = layer_program(instance, 0, bound, 1.1 * bound)
    shares = np.repeat(np.eye(gpus), experts // gpus, axis=0)
    return p, p.matrix(shares)


@pytest.mark.parametrize("experts", [32, 160])
def test_threads_do_not_change_a_byte(experts: int) -> None:
    """The same bound with one core, with two, and with two threads of BLAS before."""
    p, start = _program(experts, experts // 4)
    values = []
    for cores, blas in ((1, 1), (2, 2), (2, 1), (1, 2)):
        with patch.object(pairs, "_cores", lambda n=cores: n), threadpool_limits(blas):
            solved = solve(p, start, seconds=60.0, iterations=100)
        assert solved.certificate is not None
        values.append((solved.value, solved.certificate.psd.tobytes()))
    assert len(set(values)) == 1


def test_pairs_run_at_once_only_where_two_cores_may_be_used() -> None:
    """Small matrices, one core or one thread of BLAS: one after the other."""
    for size, cores, blas, alone in (
        (128, 2, 2, False),
        (64, 2, 2, True),
        (128, 1, 2, True),
        (128, 2, 1, True),
    ):
        with (
            patch.object(pairs, "_cores", lambda n=cores: n),
            threadpool_limits(blas, user_api="blas"),
            pairs.in_pairs(size) as both,
        ):
            assert (both is pairs.in_turn) == alone


@pytest.mark.parametrize("both_cores", [1, 2])
def test_errors_of_either_piece_are_raised(both_cores: int) -> None:
    """An exception in the second piece of work is not lost."""

    def fail() -> None:
        raise ArithmeticError("second")

    with (
        patch.object(pairs, "_cores", lambda: both_cores),
        threadpool_limits(2, user_api="blas"),
        pairs.in_pairs(200) as both,
        pytest.raises(ArithmeticError, match="second"),
    ):
        both(lambda: None, fail)


def test_a_slowly_changing_matrix_is_followed() -> None:
    """Within a thousandth of the exact negative part, mostly without a full eigh."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(120, 120)))[0]
    values = np.concatenate([-rng.random(25), np.zeros(15), 8 * rng.random(80)])
    drift = rng.normal(size=(120, 120))
    drift = 1e-4 * (drift + drift.T)
    part, full = NegativePart(), 0
    for step in range(60):
        a = (turn * values) @ turn.T + step * drift
        full += part.left == 0
        found = part(a)
        exact, vectors = np.linalg.eigh(a)
        wanted = (vectors * np.minimum(exact, 0.0)) @ vectors.T
        assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted)
    assert full < 10


def test_a_jump_is_noticed() -> None:
    """After a matrix unlike the one before, full decompositions bring it back."""
    rng = np.random.default_rng(2)
    part = NegativePart()
    part(np.diag(np.linspace(-1, 8, 150) + 0.5))
    other = rng.normal(size=(150, 150))
    other = 30 * (other + other.T)
    part(other)
    exact, vectors = np.linalg.eigh(other)
    wanted = (vectors * np.minimum(exact, 0.0)) @ vectors.T
    assert np.abs(part(other) - wanted).max() < 1e-9


def test_following_proves_as_much_as_exact_projections() -> None:
    """Approximate projections cost less than a tenth of what the bound gains."""
    p, start = _program(160, 40)
    followed = solve(p, start, seconds=60.0, iterations=120)
    with patch.object(negative_part, "_LEAST_SIZE", 10**9):
        exact = solve(p, start, seconds=60.0, iterations=120)
    assert followed.certificate is not None
    assert certified(p, followed.certificate) == followed.value
    assert exact.value != followed.value  # it did take the other way
    gain = exact.value - p.constant
    assert gain > 0
    assert abs(followed.value - exact.value) < 0.1 * gain


def _with_replicas(unequal: bool) -> tuple[Program, np.ndarray]:
    """32 experts in 40 slots, each spread over all GPUs at the start."""
    rng = np.random.default_rng(11)
    counts = rng.poisson(rng.lognormal(3, 0.7, (64, 32)))[:, None]
    models = [affine(60, 0.1 + 0.01 * unequal * (g % 3)) for g in range(8)]
    instance = Instance.from_arrays(counts, models, slots=[5] * 8)
    bound = water_filling(instance)[0]
    p = layer_program(instance, 0, bound, 1.1 * bound)
    assert p.replicas
    assert p.joint == unequal
    return p, p.matrix(np.full((32, 8), 1 / 8))


@pytest.mark.parametrize("unequal", [False, True])
def test_replicas_do_not_slow_it_down(unequal: bool) -> None:
    """A few hundred iterations go beyond water-filling, also on unequal GPUs."""
    p, even = _with_replicas(unequal)
    solved = solve(p, even, seconds=60.0, iterations=300)
    assert solved.value > 1.01 * p.constant


@pytest.mark.parametrize("weight", [first_order._BOX, 3.0])
@pytest.mark.parametrize("unequal", [False, True])
def test_m_is_the_minimiser_of_each_iteration(unequal: bool, weight: float) -> None:
    """It keeps the equations, and the gradient vanishes along all they leave free."""
    p, even = _with_replicas(unequal)
    with patch.object(first_order, "_BOX", weight):
        state = _State(p, even)
    for _ in range(5):
        pulled = first_order._RHO * (state.psd - state.u_psd) + state.pull
        state.iterate()
    gram = (state.rows * state.mass[:, None]).T @ state.rows
    gram += state.box_weight * np.outer(state.box, state.box)
    curved = 0.5 * first_order._RHO_ROWS * (gram @ state.m + state.m @ gram)
    gradient = 2 * first_order._RHO * state.m + curved - pulled
    free = np.eye(p.size) - p.equal_left @ p.equal_left.T
    size = np.abs(pulled).max()
    assert np.abs(free @ gradient @ free).max() < 1e-9 * size
    assert np.allclose(state.m @ p.equal_left, p.equal_right, rtol=0, atol=1e-9)


@pytest.mark.parametrize("experts", [32, 160])
def test_diverging_iterations_end_with_what_was_proven(experts: int) -> None:
    """Steps that overshoot end the loop early, with a valid bound and no warning."""
    p, start = _program(experts, experts // 4)
    with patch.object(first_order, "_RELAX", 2.1):
        solved = solve(p, start, seconds=60.0, iterations=3000)
    assert solved.iterations < 1000
    assert solved.value > 1.01 * p.constant
    assert solved.certificate is not None
    assert certified(p, solved.certificate) == solved.value


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e30])
def test_a_matrix_beyond_all_bounds_is_noticed(wrong: float) -> None:
    """NaN and infinity count as diverged, the start does not."""
    state = _State(*_with_replicas(True))
    assert not state.escaped()
    state.m[3, 4] = wrong
    assert state.escaped()
