"""How far from optimal: proofs, certified gaps, heuristics against optima.

    python benchmarks/exact.py proofs --count 200
    python benchmarks/exact.py frontier --count 20
    python benchmarks/exact.py gaps --seconds 10 --seeds 5
    python benchmarks/exact.py replicas --seconds 10 --seeds 5
    python benchmarks/exact.py heuristics --count 40

Every part prints a Markdown table. Real routing is read from ``shared/traces`` beside
the checkout (``GEMOPT_TRACES`` overrides); without it those rows are left out.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import gemopt
from gemopt import Instance
from gemopt.bench import machine
from gemopt.bounds import lower_bound
from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)

STEPS = 256


def bursts(experts: int, seed: int) -> np.ndarray:
    """Lognormal popularity, bursting groups of experts, drift; ``[256, experts]``."""
    rng = np.random.default_rng(seed)
    heat = rng.lognormal(0, 0.7, experts)
    heat[rng.permutation(experts)[: max(1, experts // 32)]] *= 3
    group = rng.integers(0, max(2, experts // 8), experts)
    on, drift, steps = np.zeros(group.max() + 1, bool), np.zeros(experts), []
    for _ in range(STEPS):
        drift = 0.95 * drift + rng.normal(0, 0.1, experts)
        on = np.where(rng.random(len(on)) < 0.1, rng.random(len(on)) < 0.3, on)
        share = heat * np.exp(drift) * np.where(on[group], 4, 1)
        steps.append(rng.multinomial(32 * experts, share / share.sum()))
    return np.array(steps)


def decoding(layer: int, seed: int) -> np.ndarray | None:
    """gpt-oss-20b on MMLU, 64 requests, one token each a step; ``[256, 32]``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "traces"
    folder = Path(os.environ.get("GEMOPT_TRACES", beside))
    path = folder / "gpt-oss-20b-expertfingerprinting" / "mmlu_test.npz"
    if not path.exists():
        return None
    data = np.load(path, allow_pickle=False)
    ids, offsets = data["expert_ids"], data["request_offsets"]
    queue = list(np.random.default_rng(seed).permutation(len(offsets) - 1))
    running: list[list[int]] = []
    steps = []
    while len(steps) < 64 + STEPS:
        while len(running) < 64 and queue:
            request = queue.pop()
            running.append([offsets[request], offsets[request + 1]])
        tokens = ids[[r[0] for r in running]]
        steps.append(np.bincount(tokens[:, layer].ravel(), minlength=32))
        running = [[a + 1, b] for a, b in running if a + 1 < b]
    return np.array(steps[64:])


def speeds(gpus: int, unequal: bool, seed: int) -> np.ndarray:
    """1, or N(1, 0.05) with one GPU at 0.85."""
    if not unequal:
        return np.ones(gpus)
    speed = np.random.default_rng(seed + 77).normal(1, 0.05, gpus)
    speed[-1] = 0.85
    return speed


def shaped(
    counts: np.ndarray, gpus: int, unequal: bool, seed: int, spare: int = 0
) -> Instance:
    """One layer of synthetic traffic at (60 + 0.11 n) us; real traffic has 256
    assignments a step, and the slope makes a third of a balanced step idle time."""
    experts = counts.shape[1]
    real = counts[0].sum() == 256
    slope = 120.0 * gpus / 256 if real else 0.11
    models = [affine(60 / s, slope / s) for s in speeds(gpus, unequal, seed)]
    slots = [(experts + spare) // gpus] * gpus
    return Instance.from_arrays(counts[:, None], models, slots=slots)


def family(name: str, rng: np.random.Generator) -> LatencyModel:
    """A random latency model of one family."""
    s = float(rng.normal(1, 0.1))
    if name == "affine":
        return affine(60 * s, 0.4 * s)
    if name == "step":
        return TokenCurve([(32 * i, s * (30 + 12 * i)) for i in range(1, 40)])
    if name == "tile_active":
        return TileActive(20 * s, 3 * s, 4 * s, 0.05 * s, 16)
    memory, compute = Line(30 * s, 6 * s), Line(10 * s, 0, 0, 0.4 * s)
    if name == "roofline":
        return Roofline(memory, compute, 16)
    return Regimes([(500, affine(50 * s, 0.5 * s)), (1e9, affine(70 * s, 0.4 * s))])


FAMILIES = ("affine", "step", "tile_active", "roofline", "regimes")


def small(seed: int, spare: bool) -> Instance:
    """A random small instance; every second one has unequal GPUs."""
    rng = np.random.default_rng(10_000 + seed)
    experts, gpus = ((8, 4), (16, 4), (16, 8), (12, 4))[seed % 4]
    experts = min(experts, 12) if spare else experts
    gpus = 4 if spare else gpus
    steps = int(rng.choice([16, 64]))
    name = FAMILIES[seed % len(FAMILIES)]
    one = family(name, rng)
    models = [one if seed % 2 else family(name, rng) for _ in range(gpus)]
    extra = 1 if spare else 0
    slots = [experts // gpus + extra] * gpus
    counts = bursts(experts, seed)[:steps, None]
    return Instance.from_arrays(counts, models, slots=slots)


def proofs(args: argparse.Namespace) -> None:
    """Share proven within the limit."""
    print("| set | proven | of | mean s | worst s |\n| --- | --- | --- | --- | --- |")
    for label, spare in (("E <= 16, no replicas", False), ("E <= 12, S = E+G", True)):
        times, won = [], 0
        for seed in range(args.count):
            began = time.perf_counter()
            run = gemopt.solve(
                small(seed, spare), "cpsat", time_limit=args.seconds, jobs=2
            )
            times.append(time.perf_counter() - began)
            won += run.status == "optimal"
        worst = max(times)
        print(
            f"| {label} | {won} | {args.count} | {np.mean(times):.2f} | {worst:.1f} |"
        )


def frontier(args: argparse.Namespace) -> None:
    """E = 32, G = 4, T = 16 within a minute."""
    print("| GPUs | solver | proven | of | mean gap left | mean s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for unequal in (False, True):
        for solver in ("milp", "cpsat"):
            gaps, times = [], []
            for seed in range(args.count):
                problem = shaped(bursts(32, 500 + seed)[:16], 4, unequal, seed)
                run = gemopt.solve(problem, solver, time_limit=args.seconds, jobs=2)
                gaps.append(run.gap if run.status != "optimal" else 0.0)
                times.append(run.seconds)
            won = sum(g == 0 for g in gaps)
            kind = "unequal" if unequal else "equal"
            row = [kind, solver, won, args.count, f"{100 * np.mean(gaps):.2f} %"]
            print(f"| {' | '.join(map(str, row))} | {np.mean(times):.1f} |")


def shapes(seed: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """The shapes of the gap table."""
    real = decoding(12 + seed % 5, seed)
    if real is not None:
        yield "real E32 G4", real, 4
        yield "real E32 G8", real, 8
    yield "E64 G8", bursts(64, 100 + seed), 8
    yield "E128 G8", bursts(128, 100 + seed), 8
    yield "E256 G32", bursts(256, 100 + seed), 32


def more_shapes(seed: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """The shapes of the table with replicas."""
    for experts, gpus in ((64, 4), (64, 8), (64, 16), (128, 16)):
        yield f"E{experts} G{gpus}", bursts(experts, 100 + seed), gpus


def _gaps(
    args: argparse.Namespace,
    listed: Callable[[int], Iterator[tuple[str, np.ndarray, int]]],
    replicas: bool,
) -> None:
    limits = (1.0, args.seconds)
    gemopt.solve(small(0, False), "search")  # compile before the clock runs
    found: dict[tuple[str, bool], list[list[float]]] = {}
    for seed in range(args.seeds):
        for name, counts, gpus in listed(seed):
            for unequal in (False,) if replicas else (False, True):
                problem = shaped(counts, gpus, unequal, seed, gpus * replicas)
                run = gemopt.solve(
                    problem,
                    "search",
                    params={"preset": "best"},
                    time_limit=args.search,
                    seed=seed,
                )
                row = [run.objective / lower_bound(problem, "none").value]
                row.append(run.objective / lower_bound(problem, "quick").value)
                for limit in limits:
                    bound = lower_bound(problem, limit, placement=run.placement)
                    row.append(run.objective / bound.value)
                found.setdefault((name, unequal), []).append(row)
    titles = ("shape", "GPUs", "A", "B", *(f"C {x:g} s" for x in limits))
    print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    for (name, unequal), rows in found.items():
        mean = 100 * (np.mean(rows, axis=0) - 1)
        cells = " | ".join(f"{x:.2f} %" for x in mean)
        print(f"| {name} | {'unequal' if unequal else 'equal'} | {cells} |", flush=True)


def gaps(args: argparse.Namespace) -> None:
    """Certified gap of the search's result, no replicas."""
    _gaps(args, shapes, replicas=False)


def replicas(args: argparse.Namespace) -> None:
    """Certified gap of the search's result, slots E + G, equal GPUs."""
    _gaps(args, more_shapes, replicas=True)


def heuristics(args: argparse.Namespace) -> None:
    """Every solver against the proven optimum of small instances."""
    names = ("linear", "eplb", "lpt", "gem", "search", "cluster")
    excess: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    count = 0
    for seed in range(args.count):
        problem = small(seed, seed % 3 == 2)
        best = gemopt.solve(problem, "cpsat", time_limit=args.seconds)
        if best.status != "optimal":
            continue
        count += 1
        for name in names:
            run = gemopt.solve(problem, name, time_limit=1.0)
            excess[name].append(run.objective / best.objective - 1)
            seconds[name].append(run.seconds)
    print(f"{count} of {args.count} instances proven optimal by cpsat.\n")
    print("| solver | mean over optimum | worst | optimal | median s |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        gap = np.array(excess[name])
        share = 100 * (gap <= 1e-6).mean()
        print(
            f"| {name} | {100 * gap.mean():.2f} % | {100 * gap.max():.2f} % | "
            f"{share:.0f} % | {np.median(seconds[name]):.4f} |"
        )


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = (proofs, frontier, gaps, replicas, heuristics)
    parser.add_argument("part", choices=[part.__name__ for part in parts])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--search", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    print(machine(1), "\n")
    next(part for part in parts if part.__name__ == args.part)(args)


if __name__ == "__main__":
    main()
