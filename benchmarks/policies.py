"""Time of a policy call as engines make it, and how long other threads must wait.

Run ``python -m benchmarks.policies``. One core: 58 layers, 256 experts, 288 slots, 32
ranks, vLLM's and SGLang's calls with a current placement, with and without a profile.
"First" is the first call after registration; "wait" is the longest time that another
Python thread could not run during a call (the interpreter's own switch interval is
5 ms). "Moves" are slots that take an expert new to their rank. "Unseen" is the
straggler latency on the next 64 steps against that of DeepSeek's placement, mean of
nine seeds: on equal ranks where there is no profile, else on unequal ones (speeds
within 10 %, one 15 % slow).
"""

from __future__ import annotations

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gemopt.cost.evaluate import evaluate
from gemopt.engines.sglang.policy import rebalance_experts
from gemopt.engines.vllm.policy import GemoptPolicy
from gemopt.files.profile_file import Profile, save_profile
from gemopt.latency import LatencyModel, TileActive, affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.eplb import eplb_phy2log
from gemopt.parts.repair import repaired
from gemopt.serving.config import FILE, VARIABLES
from gemopt.serving.slots import incoming
from gemopt.serving.warmup import warm_up

LAYERS, EXPERTS, SLOTS, RANKS, REPEATS = 58, 256, 288, 32, 9
START = np.tile(np.arange(SLOTS) % EXPERTS, (LAYERS, 1))  #: as engines start


def traffic(steps: int, seed: int) -> torch.Tensor:
    """Lognormal loads that fluctuate from step to step ``[steps, layers, experts]``."""
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(3.0, 1.0, (LAYERS, EXPERTS))
    noise = rng.lognormal(0.0, 0.5, (steps, LAYERS, EXPERTS))
    return torch.tensor(np.floor(mean * noise).astype(np.int64))


def speeds() -> np.ndarray:
    """Speed of each rank: within 10 % of 1, one 15 % slow."""
    speed = np.clip(np.random.default_rng(7).normal(1.0, 0.05, RANKS), 0.9, 1.1)
    speed[3] = 0.85
    return speed


def curve(speed: float) -> LatencyModel:
    """Latency by tokens alone."""
    return affine(60.0 / speed, 0.11 / speed)


def equal(speed: float) -> LatencyModel:
    """Latency of ranks that are all alike."""
    return curve(1.0)


def tiles(speed: float) -> LatencyModel:
    """Latency as measured profiles have it."""
    return TileActive(12.0 / speed, 2.4 / speed, 0.7 / speed, 0.02 / speed, tile=64)


def write_profiles(folder: Path, model: Callable[[float], LatencyModel]) -> str:
    """Write a profile for each rank; return the value of ``GEMOPT_PROFILE``."""
    paths = []
    for rank, speed in enumerate(speeds()):
        path = folder / f"{model.__name__}{rank}.profile.json"
        latency = model(float(speed))
        save_profile(Profile(f"rank{rank}", {}, {}, {}, {}, (), (), latency), path)
        paths.append(str(path))
    return os.pathsep.join(paths)


def longest_wait(call: Callable[[], object]) -> float:
    """Longest pause of another Python thread during `call`, in ms."""
    pauses, running = [0.0], True

    def watch() -> None:
        last = time.perf_counter()
        while running:
            now = time.perf_counter()
            pauses[0] = max(pauses[0], now - last)
            last = now

    thread = threading.Thread(target=watch)
    thread.start()
    call()
    running = False
    thread.join()
    return 1e3 * pauses[0]


def unseen_cost(placements: list[np.ndarray], model: Callable[..., Any]) -> float:
    """Mean ratio of unseen straggler latency to that of DeepSeek's placement."""
    latency = [model(float(speed)) for speed in speeds()]
    slots = np.full(RANKS, SLOTS // RANKS)
    ratios = []
    for seed, phy2log in enumerate(placements):
        steps = traffic(128, seed).numpy()
        instance = Instance.from_arrays(steps[64:], latency, slots=slots)
        weight = steps[:64].sum(axis=0)
        theirs = repaired(eplb_phy2log(weight, SLOTS, 1, 1, RANKS)[0], slots, weight)
        costs = [
            evaluate(instance, Placement(rows, slots)).objective
            for rows in (repaired(phy2log, slots, weight), theirs)
        ]
        ratios.append(costs[0] / costs[1])
    return statistics.mean(ratios)


def measure(
    name: str, calls: list[Callable[[], torch.Tensor]], model: Callable[..., Any]
) -> None:
    """Print times, waits, and the unseen cost."""
    times, placements = [], []
    for call in calls:
        start = time.perf_counter()
        placements.append(call().numpy())
        times.append(1e3 * (time.perf_counter() - start))
    waits = [longest_wait(call) for call in calls[:5]]
    unseen = 100 * (unseen_cost(placements, model) - 1)
    moved = [incoming(phy2log, START, RANKS).sum() for phy2log in placements]
    print(
        f"| {name} | {times[0]:.1f} | {statistics.median(times):.1f} | "
        f"{max(times):.1f} | {statistics.median(waits):.1f} | "
        f"{statistics.mean(moved):.0f} | {unseen:+.2f} % |"
    )


def main() -> None:
    """Print the table."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    for variable in (*VARIABLES.values(), FILE):
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory() as folder:
        by_model = {m: write_profiles(Path(folder), m) for m in (curve, tiles)}
        os.environ["GEMOPT_PROFILE"] = by_model[curve]
        start = time.perf_counter()
        warm_up()
        seconds = time.perf_counter() - start
        print(f"registration (compiles, or loads from the cache): {seconds:.1f} s\n")
        print("| call | first ms | median ms | worst ms | wait ms | moves | unseen |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        _table(by_model)


def _table(by_model: dict[Callable[[float], LatencyModel], str]) -> None:
    numbers = (SLOTS, 1, 1, RANKS)
    old = torch.tensor(START)
    windows = [traffic(128, seed)[:64] for seed in range(REPEATS)]
    sums = [steps.sum(dim=0) for steps in windows]
    os.environ["GEMOPT_WINDOW_STEPS"] = "64"

    def vllm(weight: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: GemoptPolicy.rebalance_experts(weight, *numbers, old)

    def sglang(steps: torch.Tensor) -> Callable[[], torch.Tensor]:
        local = SLOTS // RANKS
        return lambda: rebalance_experts(steps, SLOTS, local, None, 1, old=old)[0]

    os.environ["GEMOPT_PROFILE"] = ""
    measure("vLLM, no profile (DeepSeek's)", [vllm(w) for w in sums], equal)
    measure("SGLang, 64 steps, no profile", [sglang(w) for w in windows], equal)
    for model, paths in by_model.items():
        os.environ["GEMOPT_PROFILE"] = paths
        name = f"{model.__name__} of each rank"
        measure(f"vLLM, {name}", [vllm(w) for w in sums], model)
        os.environ["GEMOPT_MOVE_BUDGET"] = "500"
        measure(f"vLLM, {name}, 500 moves", [vllm(w) for w in sums], model)
        del os.environ["GEMOPT_MOVE_BUDGET"]
        measure(f"SGLang, 64 steps, {name}", [sglang(w) for w in windows], model)


if __name__ == "__main__":
    main()
