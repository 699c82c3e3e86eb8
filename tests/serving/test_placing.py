"""Decisions from profiles and traces: feasible, deterministic, bounded, better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemopt.cost.evaluate import evaluate
from gemopt.files.profile_file import Profile, save_profile
from gemopt.latency import TileActive, affine
from gemopt.model.check import violations
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.align import align
from gemopt.serving.config import PolicyConfig
from gemopt.serving.place import deepseek_placement, place
from gemopt.serving.request import PolicyCallError, Request
from gemopt.serving.slots import incoming
from tests.serving.test_config import profile

SPEEDS = (0.10, 0.10, 0.20, 0.10)  # us per token: rank 2 is half as fast


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """Options with a profile for each of four ranks."""
    folder = tmp_path_factory.mktemp("profiles")
    paths = [str(profile(folder, f"r{i}", us)) for i, us in enumerate(SPEEDS)]
    return PolicyConfig(profiles=tuple(paths), window_steps=1)


def instance_of(request):
    """The instance that the four unequal ranks and the request make."""
    local = request.slots // request.ranks
    latency = [affine(10.0, us) for us in SPEEDS]
    return Instance.from_arrays(request.loads, latency, slots=[local] * 4)


def requests(rows=1, spare=(0, 4, 8), old=True):
    """Requests of 8 experts on four ranks, some with a current placement."""

    @st.composite
    def draw_request(draw):
        rng = np.random.default_rng(draw(st.integers(0, 9999)))
        layers = draw(st.integers(1, 3))
        slots = 8 + draw(st.sampled_from(spare))
        loads = np.floor(rng.lognormal(4, 1, (rows, layers, 8))).astype(np.int64)
        now = None
        if old and draw(st.booleans()):
            row = np.arange(slots) % 8
            now = np.array([rng.permutation(8)[row] for _ in range(layers)])
        return Request(loads, 1, slots, 4, old=now)

    return draw_request()


@given(request=st.one_of(requests(), requests(rows=6)))
def test_answers_are_feasible_and_repeatable(unequal, request):
    """With a profile every answer obeys gemopt's rules, and comes out twice."""
    new = place(request, unequal)
    instance = instance_of(request)
    assert violations(instance, Placement(new, instance.slots)) == []
    np.testing.assert_array_equal(place(request, unequal), new)


@given(request=requests(rows=3))
def test_experts_that_stay_keep_their_slots(unequal, request):
    """The answer is already in the order that keeps most slots in place."""
    new = place(request, unequal)
    if request.old is not None:
        kept = align(request.old, new, request.per_rank)
        np.testing.assert_array_equal(kept, new)


@given(request=requests(rows=4), budget=st.integers(0, 6))
def test_move_budget_is_honoured(unequal, request, budget):
    """Never more moves than allowed, and never worse than the old placement."""
    config = PolicyConfig(profiles=unequal.profiles, move_budget=budget, window_steps=1)
    new = place(request, config)
    if request.old is None:
        return
    assert incoming(new, request.old, 4).sum() <= budget
    if budget == 0:
        np.testing.assert_array_equal(new, request.old)
    instance = instance_of(request)
    before = evaluate(instance, Placement(request.old, instance.slots)).objective
    after = evaluate(instance, Placement(new, instance.slots)).objective
    assert after <= before


@given(request=requests(rows=4), least=st.floats(0.01, 0.5))
def test_minimum_gain_is_honoured(unequal, request, least):
    """A new placement gains at least what was asked for; else nothing moves."""
    config = PolicyConfig(profiles=unequal.profiles, min_gain=least, window_steps=1)
    new = place(request, config)
    if request.old is None or np.array_equal(new, request.old):
        return
    instance = instance_of(request)
    before = evaluate(instance, Placement(request.old, instance.slots)).objective
    after = evaluate(instance, Placement(new, instance.slots)).objective
    assert before - after >= least * before * (1 - 1e-9)


@settings(max_examples=10)
@given(st.integers(0, 999))
def test_profiles_beat_mean_loads(unequal, seed):
    """A slow rank is relieved: less straggler latency than DeepSeek's placement."""
    rng = np.random.default_rng(seed)
    loads = np.floor(rng.lognormal(5, 0.5, (8, 4, 16))).astype(np.int64)
    request = Request(loads, 1, 16, 4)
    instance = instance_of(request)

    def cost(phy2log):
        return evaluate(instance, Placement(phy2log, instance.slots)).objective

    assert cost(place(request, unequal)) < cost(deepseek_placement(request))


def test_trace_keeps_experts_apart_that_are_busy_together():
    """Equal means, equal GPUs: only the time axis tells who must not share a rank."""
    busy = np.array([[90, 90, 10, 10], [10, 10, 90, 90]])
    for order in ([0, 1, 2, 3], [0, 2, 1, 3], [0, 2, 3, 1]):
        loads = np.tile(busy[:, order], (20, 1))[:, None, :]
        (row,) = place(Request(loads, 1, 4, 2), PolicyConfig()).tolist()
        of_rank = loads[:, 0, row].reshape(40, 2, 2).sum(axis=2)
        assert (of_rank == 100).all()


@given(st.integers(0, 999), st.booleans())
def test_groups_stay_on_their_host(unequal, seed, spare):
    """Hierarchical: each host holds whole groups of experts, as DeepSeek's does."""
    rng = np.random.default_rng(seed)
    loads = rng.integers(1, 500, (1, 2, 16))
    slots = 24 if spare else 16
    request = Request(loads, 1, slots, 4, groups=4, nodes=2)
    new = place(request, unequal).reshape(2, 2, -1)
    for layer in new:
        groups = [set((host // 4).tolist()) for host in layer]
        assert len(groups[0]) == len(groups[1]) == 2
        assert not groups[0] & groups[1]
        assert all(len(set(host.tolist())) == 8 for host in layer)
    instance = instance_of(request)
    assert not violations(instance, Placement(new.reshape(2, -1), instance.slots))


def test_window_counts_for_the_base(tmp_path):
    """Latency is predicted for an average step, not for the sum of the window."""
    one = profile(tmp_path, "slow")  # 10 us + 0.1 us a token
    flat = tmp_path / "flat.profile.json"
    latency = affine(30.0, 0.0)  # better as soon as a step brings 200 tokens
    save_profile(Profile("flat", {}, {}, {}, {}, (), (), latency), flat)
    paths = (str(one), str(flat))
    loads = np.array([[[1000, 10, 10, 10]]])
    few = place(Request(loads, 100, 4, 2), PolicyConfig(profiles=paths))
    many = place(Request(loads, 1, 4, 2), PolicyConfig(profiles=paths))
    assert 0 in many[0, 2:], "1000 tokens a step belong on the flat rank"
    assert few.shape == many.shape


def test_two_slots_of_an_expert_per_rank_fall_to_deepseek(unequal):
    """More slots a rank than experts: no gemopt instance, DeepSeek's answer."""
    request = Request(np.array([[[5, 3]]]), 1, 12, 4)
    np.testing.assert_array_equal(place(request, unequal), deepseek_placement(request))


def test_fractions_are_scaled(unequal):
    """Loads that are no whole numbers give the placement of their multiples."""
    loads = np.array([[[1.5, 2.25, 8.0, 3.0, 4.5, 0.25, 1.0, 6.0]]])
    affine_only = PolicyConfig(profiles=unequal.profiles)
    first = place(Request(loads, 1000, 8, 4), affine_only)
    second = place(Request(loads * 4, 4000, 8, 4), affine_only)
    np.testing.assert_array_equal(first, second)


def test_request_without_layers():
    """Nothing to place is an AssertionError."""
    with pytest.raises(PolicyCallError, match="need"):
        Request(np.zeros((1, 0, 4)), 1, 4, 2)


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("budget", [None, 4])
@pytest.mark.parametrize("ranks", [1, 4])
def test_loads_of_zero(unequal, rows, budget, ranks):
    """A server that has seen no traffic: any valid placement, the old one if known."""
    loads = np.zeros((rows, 2, 8), dtype=np.int64)
    old = np.tile(np.arange(8), (2, 1))
    config = PolicyConfig(profiles=unequal.profiles[:1], move_budget=budget)
    new = place(Request(loads, 1, 8, ranks), config)
    assert [sorted(row) for row in new.tolist()] == [list(range(8))] * 2
    kept = place(Request(loads, 1, 8, ranks, old=old), config)
    np.testing.assert_array_equal(kept, old)


@settings(max_examples=10)
@given(request=requests(rows=6), preset=st.sampled_from(["fast", "default"]))
def test_presets_are_feasible_with_any_family(tmp_path_factory, request, preset):
    """Every latency family and preset: gemopt's rules hold, never worse than before."""
    folder = tmp_path_factory.mktemp("tiles")
    latency = TileActive(12.0, 2.4, 0.7, 0.02, tile=16)
    path = folder / "tile.profile.json"
    save_profile(Profile("tile", {}, {}, {}, {}, (), (), latency), path)
    config = PolicyConfig(profiles=(str(path),), preset=preset)
    new = place(request, config)
    local = request.slots // 4
    instance = Instance.from_arrays(request.loads, [latency] * 4, slots=[local] * 4)
    after = evaluate(instance, Placement(new, instance.slots)).objective
    if request.old is not None:
        before = Placement(request.old, instance.slots)
        assert after <= evaluate(instance, before).objective
