"""Replay: whole tokens of every slot, the order, and the figures that come out."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import isnan
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt import Instance, Placement
from gemopt.latency import TileActive
from gemopt_gpu_bench.measure.sampling import Load
from gemopt_gpu_bench.measure.session import Point
from gemopt_gpu_bench.replay.plan import ReplayPlan, gpu_counts, make_plan
from gemopt_gpu_bench.replay.result import ReplayResult, t_interval
from gemopt_gpu_bench.replay.run import (
    ReplaySettings,
    assign,
    make_sessions,
    order,
    replay,
)

CPU = torch.device("cpu")


@st.composite
def problems(draw: st.DrawFn) -> tuple[Instance, Placement]:
    """Small instances with unequal slots and replicas, and a random placement."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gpus, experts = draw(st.integers(2, 4)), draw(st.integers(4, 7))
    slots = np.full(gpus, -(-experts // gpus))
    slots[: draw(st.integers(0, gpus - 1))] += 1
    counts = rng.poisson(6, (draw(st.integers(1, 4)), draw(st.integers(1, 2)), experts))
    models = [TileActive(1.0, 0.5, 0.2, 0.1 * (g + 1), tile=4) for g in range(gpus)]
    instance = Instance.from_arrays(counts, models, slots=slots)
    result = gemopt.solve(instance, "random", seed=int(rng.integers(99)))
    assert result.placement is not None
    return instance, result.placement


@given(problems())
def test_no_token_is_lost_and_splits_are_even(pair: tuple[Instance, Placement]) -> None:
    """Slots get whole tokens within one of the model's shares, all of them once."""
    instance, placement = pair
    counts = gpu_counts(instance, placement)
    first = np.cumsum(instance.slots) - instance.slots
    copies = placement.replicas(instance.num_experts)
    for layer, row in enumerate(placement.phy2log):
        total = np.zeros((instance.num_steps, instance.num_experts), np.int64)
        for slot, expert in enumerate(row):
            gpu = placement.slot2gpu[slot]
            got = counts[:, layer, gpu, slot - first[gpu]]
            share = instance.loads[layer, expert] / copies[layer, expert]
            assert (np.abs(got - share) < 1).all()
            total[:, expert] += got
        np.testing.assert_array_equal(total.T, instance.loads[layer])
    assert counts.sum() == instance.loads.sum()


def _instance(steps: int = 6, layers: int = 2) -> Instance:
    rng = np.random.default_rng(3)
    models = [TileActive(3.0, 1.0, 0.5, 0.2 * (1 + g), tile=4) for g in range(2)]
    return Instance.from_arrays(
        rng.poisson(9, (steps, layers, 6)), models, weights=rng.uniform(1, 2, steps)
    )


def _placements(instance: Instance) -> dict[str, Placement]:
    found = {}
    for name in ("linear", "lpt"):
        placement = gemopt.solve(instance, name).placement
        assert placement is not None
        found[name] = placement
    return found


@dataclass
class _Layer:
    x: torch.Tensor = field(default_factory=lambda: torch.zeros(1))


@dataclass
class _ModelledGpu:
    """A session whose hardware is a latency model, times a factor."""

    model: TileActive
    factor: float = 1.0
    layer: Any = field(default_factory=_Layer)
    seen: list[Load] = field(default_factory=list)

    def measure(self, load: Load, kept: int) -> Point:
        self.seen.append(load)
        us = float(self.model.us(np.array(load.counts))) * self.factor
        return Point(load, (us,) * kept)


def _sessions(instance: Instance, factor: float = 1.0) -> list[Any]:
    return [_ModelledGpu(model, factor) for model in instance.latency]


def test_hardware_that_obeys_the_model_gives_the_objective() -> None:
    """Totals equal `gemopt.evaluate` when every load takes what the model says."""
    instance = _instance()
    named = _placements(instance)
    plan = make_plan(instance, named)
    result = replay(plan, _sessions(instance), repeats=3)
    for index, placement in enumerate(named.values()):
        objective = gemopt.evaluate(instance, placement).objective
        assert result.totals[:, index] == pytest.approx(objective)
        assert result.predicted[index] == pytest.approx(objective)
        assert result.error(index) == pytest.approx(0, abs=1e-12)
    gain = result.gain(1)
    assert gain.repeats.mean == pytest.approx(gain.predicted)
    assert gain.repeats.low == pytest.approx(gain.repeats.high)
    assert gain.steps.low < gain.steps.mean < gain.steps.high
    assert result.load_mape() == pytest.approx(0, abs=1e-12)


def test_slow_hardware_shows_in_the_error_and_not_in_the_gain() -> None:
    """A card 25 % slower than its profile: error -20 %, the same improvement."""
    instance = _instance()
    plan = make_plan(instance, _placements(instance))
    result = replay(plan, _sessions(instance, 1.25), repeats=2)
    assert result.error(0) == pytest.approx(-0.2)
    assert result.gain(1).repeats.mean == pytest.approx(result.gain(1).predicted)


def test_every_load_is_visited_once_and_placements_of_a_step_together() -> None:
    """The order is a permutation, differs between repeats and interleaves."""
    instance = _instance()
    plan = make_plan(instance, _placements(instance))
    spots = order(plan, 2, 0, [0, 1])
    assert len(set(spots)) == len(spots) == 2 * plan.predicted_us.size
    cells = [(s[0], s[2], s[3]) for s in spots]
    changes = sum(a != b for a, b in pairwise(cells))
    assert changes == len(set(cells)) - 1
    assert [s[1:] for s in spots[: len(spots) // 2]] != [
        s[1:] for s in spots[len(spots) // 2 :]
    ]
    starts = {s[1] for s, before in zip(spots[1:], spots, strict=False) if s != before}
    assert starts == {0, 1}
    apart = [order(plan, 2, 0, [gpu]) for gpu in (0, 1)]
    assert [s[:4] for s in apart[0]] == [s[:4] for s in apart[1]]


def test_idle_gpus_take_no_time_and_are_not_launched() -> None:
    """A GPU without tokens counts zero."""
    instance = Instance.from_arrays(
        [[[5, 5, 0, 0]]], [TileActive(1.0, 1.0), TileActive(1.0, 1.0)]
    )
    placement = Placement(np.array([[0, 1, 2, 3]]), np.array([2, 2]))
    plan = make_plan(instance, {"only": placement})
    sessions = _sessions(instance)
    result = replay(plan, sessions, repeats=1)
    assert not sessions[1].seen
    assert result.us[0, 0, 0, 0].tolist() == [3.0, 0.0]
    assert isnan(result.gain(0).repeats.low)


def test_devices_work_side_by_side_and_stop_together() -> None:
    """Two devices measure the same figures at once; one that fails stops the other."""
    instance = _instance()
    plan = make_plan(instance, _placements(instance))
    barrier = Barrier(2, timeout=30)

    class Apart(_ModelledGpu):
        def measure(self, load: Load, kept: int) -> Point:
            if not self.seen:
                barrier.wait()  # both must be here at the same time
            return super().measure(load, kept)

    apart: list[Any] = [Apart(model) for model in instance.latency]
    apart[0].layer = _Layer(torch.zeros(1, device="meta"))  # another device
    result = replay(plan, apart, repeats=2)
    np.testing.assert_array_equal(result.us[0], plan.predicted_us)
    assert result.devices == 2

    class Broken(_ModelledGpu):
        def measure(self, load: Load, kept: int) -> Point:
            if len(self.seen) == 3:
                raise ValueError("broken")
            return super().measure(load, kept)

    pair: list[Any] = [Broken(instance.latency[0]), _ModelledGpu(instance.latency[1])]
    pair[0].layer = apart[0].layer
    with pytest.raises(ValueError, match="broken"):
        replay(plan, pair, repeats=2000)
    assert len(pair[1].seen) < 2000 * plan.counts[..., 0, 0].size


def test_memory_that_does_not_suffice_is_an_error_with_the_gpu() -> None:
    """A load that does not fit names its GPU; nothing is silently left out."""

    class Full(_ModelledGpu):
        def measure(self, load: Load, kept: int) -> Point:
            return Point(load, (), note=f"out of memory at {load.tokens} tokens")

    instance = _instance()
    plan = make_plan(instance, _placements(instance))
    full: list[Any] = [Full(model) for model in instance.latency]
    with pytest.raises(ValueError, match=r"GPU 'gpu\d': out of memory at"):
        replay(plan, full, repeats=1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Noisy repeats: the 95 % interval holds the true improvement in 93-97 %."""
    rng = np.random.default_rng(0)
    covered, trials = 0, 600
    for _ in range(trials):
        us = np.array([[[[100.0]], [[90.0]]]])[..., None].repeat(5, axis=0)
        us = us.reshape(5, 2, 1, 1, 1) * rng.normal(1, 0.01, (5, 2, 1, 1, 1))
        result = ReplayResult(("a", "b"), us, us[0], np.ones(1))
        found = result.gain(1).repeats
        covered += found.low < 0.1 < found.high
    assert 0.93 <= covered / trials <= 0.97


def test_drift_that_meets_all_placements_alike_leaves_the_gain_exact() -> None:
    """Repeats on a card that slows down by 30 %: paired gains do not scatter."""
    base = np.array([100.0, 80.0]).reshape(1, 2, 1, 1, 1)
    us = base * np.linspace(1.0, 1.3, 5).reshape(5, 1, 1, 1, 1)
    result = ReplayResult(("a", "b"), us, base[0], np.ones(1))
    gain = result.gain(1).repeats
    assert gain.low == pytest.approx(0.2) and gain.high == pytest.approx(0.2)
    assert result.measured(0).high > 115
    one = t_interval([3.0])
    assert one.mean == 3.0 and isnan(one.low)


def test_plan_and_result_come_back_from_their_files(tmp_path: Path) -> None:
    """Nothing is lost in files, and other documents are refused."""
    import json

    instance = _instance()
    plan = make_plan(instance, _placements(instance))
    plan.save(tmp_path / "plan.npz")
    again = ReplayPlan.load(tmp_path / "plan.npz")
    assert again.names == plan.names and again.gpu_names == plan.gpu_names
    for name in ("counts", "predicted_us", "mean_tokens", "weights", "layer_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))
    result = replay(plan, _sessions(instance), repeats=2)
    result.save(tmp_path / "result.json", {"card": "none"})
    data = json.loads((tmp_path / "result.json").read_text())
    assert data["record"] == {"card": "none"}
    read = ReplayResult.from_json(data)
    assert read.names == result.names
    np.testing.assert_allclose(read.us, result.us, atol=0.005)
    assert read.summary()[1]["improvement"][0] == pytest.approx(
        result.gain(1).repeats.mean, abs=1e-3
    )
    with pytest.raises(ValueError, match="format = None"):
        ReplayResult.from_json({})
    np.savez(tmp_path / "other.npz", names=np.array(["a"]))
    with pytest.raises(ValueError, match=r"other\.npz.*no replay plan"):
        ReplayPlan.load(tmp_path / "other.npz")


def test_layer_runs_on_the_cpu() -> None:
    """Real work: every load takes time, several GPUs share one device's weights."""
    instance = _instance(steps=3, layers=1)
    plan = make_plan(instance, _placements(instance))
    settings = ReplaySettings(32, 48, "loop")
    gpus = assign([CPU], plan.num_gpus)
    sessions = make_sessions(settings, gpus, plan.slots, plan.max_tokens)
    assert sessions[0].layer is sessions[1].layer
    assert sessions[0].pacer is sessions[1].pacer
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int, text: str) -> None:
        calls.append((done, total))

    result = replay(plan, sessions, repeats=2, progress=progress)
    assert (result.us > 0).all()
    assert calls[-1] == (result.us.size, result.us.size)
    assert result.devices == 1


def test_weights_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory while making the layer is one clear line."""

    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("gemopt_gpu_bench.replay.run.ExpertLayer", full)
    with pytest.raises(ValueError, match="cpu: 2 experts of 8 x 9 do not fit"):
        make_sessions(ReplaySettings(8, 9, "loop"), [CPU], 2, 8)


def test_bad_requests_are_refused() -> None:
    """Wrong settings, limits and placements name the value."""
    with pytest.raises(ValueError, match="hidden = 0"):
        ReplaySettings(0, 8)
    with pytest.raises(ValueError, match="mode = 'warm'"):
        ReplaySettings(8, 8, mode="warm")
    settings = ReplaySettings(8, 8, "loop")
    with pytest.raises(ValueError, match="has 1 values, needs one for each of 2"):
        make_sessions(settings, [CPU, CPU], 2, 8, [1])
    with pytest.raises(ValueError, match="needs an NVIDIA GPU"):
        make_sessions(settings, [CPU, CPU], 2, 8, [8, 8])
    instance = _instance()
    plan = make_plan(instance, _placements(instance))
    with pytest.raises(ValueError, match="repeats = 0"):
        replay(plan, _sessions(instance), repeats=0)
    with pytest.raises(ValueError, match="placements is empty"):
        make_plan(instance, {})
    broken = Placement(np.zeros((2, 6), np.int64), np.array([3, 3]))
    with pytest.raises(ValueError, match="placement 'zeros': "):
        make_plan(instance, {"zeros": broken})
    devices = [torch.device("cuda", i) for i in range(2)]
    assert assign(devices, 3) == [devices[0], devices[1], devices[0]]
