"""Exact solving: proofs of small instances, heuristics against proven optima.

    python benchmarks/exact.py proofs --count 200
    python benchmarks/exact.py frontier --count 20
    python benchmarks/exact.py heuristics --count 40

Every part prints a Markdown table.
"""

import argparse
import time

import numpy as np
from layers import bursts, shaped

import gemopt
from gemopt import Instance
from gemopt.bench import machine
from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)


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
    parts = (proofs, frontier, heuristics)
    parser.add_argument("part", choices=[part.__name__ for part in parts])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    print(machine(1), "\n")
    next(part for part in parts if part.__name__ == args.part)(args)


if __name__ == "__main__":
    main()
