"""Certified gaps: how far the result of `search` is from each bound.

    python -m benchmarks.bounds gaps --jsonl FILE
    python -m benchmarks.bounds replicas --jsonl FILE
    python -m benchmarks.bounds gaps --jsonl OTHER --iterations 600 --shape E256

Each line of FILE is one instance: finished ones are not redone. Both parts print a
Markdown table of means over seeds (real traffic: another layer and order of requests
each). "search" is its preset `best` on the given steps (not resampled), "long" the
better of that and its preset `long`, from which the bounds start: what the two differ
by is the search's share of a gap.
"""

import argparse
import json
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import numpy as np

import gemopt
from benchmarks.layers import bursts, decoding, shaped
from gemopt import Instance, Placement
from gemopt.bounds import lower_bound
from gemopt.study.bench import machine

Row = dict[str, object]


def unreplicated(seed: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """The shapes of the table without replicas."""
    real = decoding(12 + seed % 5, seed)
    if real is not None:
        yield "real E32 G4", real, 4
        yield "real E32 G8", real, 8
    yield "E64 G8", bursts(64, 100 + seed), 8
    yield "E128 G8", bursts(128, 100 + seed), 8
    yield "E256 G32", bursts(256, 100 + seed), 32


def replicated(seed: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """The shapes of the table with replicas."""
    for experts, gpus in ((64, 4), (64, 8), (64, 16), (128, 16)):
        yield f"E{experts} G{gpus}", bursts(experts, 100 + seed), gpus


def problems(part: str, seeds: int) -> Iterator[tuple[Row, Instance]]:
    """Key and instance of every line of a table."""
    for seed in range(seeds):
        for name, counts, gpus in {"gaps": unreplicated, "replicas": replicated}[part](
            seed
        ):
            for unequal in (False, True) if part == "gaps" else (False,):
                kind = "unequal" if unequal else "equal"
                spare = gpus if part == "replicas" else 0
                key: Row = {"table": part, "shape": name, "gpus": kind, "seed": seed}
                yield key, shaped(counts, gpus, unequal, seed, spare)


def searched(instance: Instance, preset: str, seed: int) -> tuple[float, Placement]:
    """Objective in us and placement of one search."""
    params = {"preset": preset, "resample": False}
    run = gemopt.solve(
        instance, "search", params=params, seed=seed, bound_effort="none"
    )
    return run.objective, run.placement


def measured(
    instance: Instance, seed: int, limits: list[float], iterations: list[int]
) -> Row:
    """Objectives and bounds of one instance, us, and the seconds they took."""
    began = time.perf_counter()
    value, placement = searched(instance, "best", seed)
    row: Row = {"search": value, "search_s": time.perf_counter() - began}
    long = searched(instance, "long", seed)
    value, placement = min((value, placement), long, key=lambda found: found[0])
    row |= {"long": value, "long_s": time.perf_counter() - began}
    row["A"] = lower_bound(instance, "none").value
    row["B"] = lower_bound(instance, "quick").value
    for limit in limits:
        began = time.perf_counter()
        bound = lower_bound(instance, limit, placement=placement)
        row[f"{limit:g} s"] = bound.value
        row[f"{limit:g} s took"] = time.perf_counter() - began
    for count in iterations:
        bound = lower_bound(instance, inf, placement=placement, iterations=count)
        row[f"{count} it"] = bound.value
    return row


def table(rows: list[Row], strong: list[str]) -> None:
    """Print mean gaps in % by shape and kind of GPUs."""
    bounds = ["A", "B", *strong]
    titles = ["shape", "GPUs", "seeds", "search over long", *bounds, "search to last"]
    print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    for name in dict.fromkeys((row["shape"], row["gpus"]) for row in rows):
        own = [row for row in rows if (row["shape"], row["gpus"]) == name]

        def gap(above: str, below: str, own: list[Row] = own) -> str:
            ratio = [float(r[above]) / float(r[below]) for r in own]  # type: ignore[arg-type]
            return f"{100 * (np.mean(ratio) - 1):.2f}"

        cells = [*map(str, name), str(len(own)), gap("search", "long")]
        cells += [gap("long", bound) for bound in bounds]
        print(f"| {' | '.join([*cells, gap('search', bounds[-1])])} |")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["gaps", "replicas"])
    parser.add_argument("--jsonl", type=Path, required=True)
    parser.add_argument("--limits", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--iterations", type=int, nargs="+", help="instead of seconds")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shape", help="only shapes that contain this")
    args = parser.parse_args()
    limits, counts = ([], args.iterations) if args.iterations else (args.limits, [])
    lines = args.jsonl.read_text().splitlines() if args.jsonl.exists() else []
    rows: list[Row] = [json.loads(line) for line in lines]
    keys = ("table", "shape", "gpus", "seed")
    done = [tuple(row[key] for key in keys) for row in rows]
    for unequal in (False, True):  # compile before the clock runs
        for spare in (0, 4):
            small = shaped(bursts(16, 0), 4, unequal, 0, spare)
            measured(small, 0, [0.1], [])
    for key, instance in problems(args.part, args.seeds):
        wanted = args.shape is None or args.shape in str(key["shape"])
        if wanted and tuple(key.values()) not in done:
            seed = int(str(key["seed"]))
            rows.append(key | measured(instance, seed, limits, counts))
            with args.jsonl.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(machine(1) | {"cores_per_run": 2}, "\n")  # of which C uses both
    strong = [f"{limit:g} s" for limit in limits] + [f"{n} it" for n in counts]
    table([row for row in rows if row["table"] == args.part], strong)


if __name__ == "__main__":
    main()
