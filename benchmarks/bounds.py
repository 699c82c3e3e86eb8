"""Certified gaps: how far the result of `search` is from each bound.

    python benchmarks/bounds.py gaps --seconds 10 --seeds 5
    python benchmarks/bounds.py replicas --seconds 10 --seeds 5

Every part prints a Markdown table.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from layers import bursts, decoding, shaped

import gemopt
from gemopt.bench import machine
from gemopt.bounds import lower_bound


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
    gemopt.solve(
        shaped(bursts(16, 0), 4, False, 0), "search"
    )  # compile before the clock runs
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


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = (gaps, replicas)
    parser.add_argument("part", choices=[part.__name__ for part in parts])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--search", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    print(machine(1), "\n")
    next(part for part in parts if part.__name__ == args.part)(args)


if __name__ == "__main__":
    main()
