"""Time of a policy call as engines make it, and how long other threads must wait.

Run ``python benchmarks/policies.py``. One core: 58 layers, 256 experts, 288 slots, 32
ranks, vLLM's and SGLang's calls, with and without a profile. "First" is the first call
after registration; "wait" is the longest time that another Python thread could not run
during a call (the interpreter's own switch interval is 5 ms).
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

import numpy as np
import torch

from gemopt.io.profile_file import Profile, save_profile
from gemopt.latency import affine
from gemopt.policies import config as options
from gemopt.policies.sglang import rebalance_experts
from gemopt.policies.vllm import GemoptPolicy
from gemopt.policies.warmup import warm_up

LAYERS, EXPERTS, SLOTS, RANKS, REPEATS = 58, 256, 288, 32, 9


def traffic(steps: int, seed: int) -> torch.Tensor:
    """Lognormal loads that fluctuate from step to step ``[steps, layers, experts]``."""
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(3.0, 1.0, (LAYERS, EXPERTS))
    noise = rng.lognormal(0.0, 0.5, (steps, LAYERS, EXPERTS))
    return torch.tensor(np.floor(mean * noise).astype(np.int64))


def write_profiles(folder: Path) -> str:
    """Profiles of unequal ranks: speeds within 10 %, one rank 15 % slow."""
    rng = np.random.default_rng(7)
    speed = np.clip(rng.normal(1.0, 0.05, RANKS), 0.9, 1.1)
    speed[3] = 0.85
    paths = []
    for rank, factor in enumerate(speed):
        path = folder / f"rank{rank}.profile.json"
        latency = affine(60.0 / factor, 0.11 / factor)
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


def measure(name: str, calls: list[Callable[[], object]]) -> None:
    """Print the first and the median time, and the median of the longest waits."""
    times = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    waits = [longest_wait(call) for call in calls[:5]]
    print(
        f"| {name} | {times[0]:.1f} | {statistics.median(times):.1f} | "
        f"{max(times):.1f} | {statistics.median(waits):.1f} |"
    )


def main() -> None:
    """Print the table."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    variables = ("GEMOPT_PROFILE", "GEMOPT_MOVE_BUDGET", "GEMOPT_MIN_GAIN")
    for variable in (*variables, options.FILE):
        os.environ.pop(variable, None)
    start = time.perf_counter()
    warm_up()
    print("registration (compiles, or loads from the cache): ", end="")
    print(f"{time.perf_counter() - start:.1f} s\n")
    print("| call | first ms | median ms | worst ms | wait ms |")
    print("| --- | --- | --- | --- | --- |")
    numbers = (SLOTS, 1, 1, RANKS)
    old = torch.arange(SLOTS).repeat(LAYERS, 1) % EXPERTS
    windows = [traffic(64, seed) for seed in range(REPEATS)]
    sums = [steps.sum(dim=0) for steps in windows]

    def vllm(weight: torch.Tensor) -> Callable[[], object]:
        return lambda: GemoptPolicy.rebalance_experts(weight, *numbers, old)

    def sglang(steps: torch.Tensor) -> Callable[[], object]:
        local = SLOTS // RANKS
        return lambda: rebalance_experts(steps, SLOTS, local, None, 1, old=old)

    measure("vLLM, no profile (DeepSeek's placement)", [vllm(w) for w in sums])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GEMOPT_PROFILE"] = write_profiles(Path(folder))
        measure("vLLM, a profile for each rank", [vllm(w) for w in sums])
        os.environ["GEMOPT_MOVE_BUDGET"] = "500"
        measure("the same, 500 moves at most", [vllm(w) for w in sums])
        del os.environ["GEMOPT_MOVE_BUDGET"]
        measure("SGLang, 64 steps, a profile each", [sglang(w) for w in windows])
        del os.environ["GEMOPT_PROFILE"]
    measure("SGLang, 64 steps, no profile", [sglang(w) for w in windows])


if __name__ == "__main__":
    main()
