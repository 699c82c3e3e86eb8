"""Tables of docs/results/search.md: quality, ablation, time, optima, real traffic.

Run ``python -m benchmarks.search TABLE [--seeds 100 101 ...] [--jsonl FILE]``. Every
figure is on steps that the solver has not seen unless it says "seen". Differences are
in % of the best opponent on the same instance, paired; +- is the standard error of the
mean over instances.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gemopt
from benchmarks.exhaustive import optimum
from gemopt import Instance, Placement
from gemopt.latency import affine
from gemopt.parts.eplb import eplb_phy2log
from gemopt.traffic import synthetic_instance
from gemopt.traffic.serving import serving_steps
from gemopt.traffic.synthetic import gpu_speeds
from gemopt_solvers.search import place_counts
from gemopt_solvers.search.presets import DEFAULT
from gemopt_solvers.search.presets import PRESETS as PRESETS_TABLE
from gemopt_solvers.search.presets import preset as stages_of

PRESETS = ("fast", "default", "best")
SHAPES = tuple(
    (experts, gpus)
    for experts in (64, 128, 256)
    for gpus in (4, 8, 16, 32, 64)
    if gpus < experts
)
STEPS, LAYERS = 256, 2

Row = dict[str, object]


def objective(instance: Instance, rows: np.ndarray | Placement) -> float:
    """Objective in us per step and layer."""
    placement = rows
    if not isinstance(rows, Placement):
        placement = Placement(rows, instance.slots)
    total = gemopt.evaluate(instance, placement).objective
    return total / instance.num_steps / instance.num_layers


def solved(instance: Instance, solver: str, **params: object) -> Placement:
    """Placement of a solver."""
    result = gemopt.solve(instance, solver, params=params or None, trace=False)
    assert result.placement is not None
    return result.placement


def generated(seeds: list[int], layers: int = LAYERS) -> Iterator[tuple[str, Instance]]:
    """Instances of twice 256 steps, with the name of their column."""
    for speeds in ("equal", "unequal"):
        for extra in (0, 1):
            for experts, gpus in SHAPES:
                for seed in seeds:
                    yield (
                        f"{speeds}, slots E{'+G' if extra else ''}",
                        synthetic_instance(
                            experts, gpus, experts + extra * gpus, steps=2 * STEPS,
                            layers=layers, seed=seed, speeds=speeds,
                        ),
                    )  # fmt: skip


def quality(args: argparse.Namespace) -> Iterator[Row]:
    """Every preset against the best of eplb and meancov (and lpt), unseen steps."""
    for column, instance in generated(args.seeds):
        seen, unseen = instance.split()
        row: Row = {"table": "quality", "column": column, "instance": instance.name}
        yield judged(row, seen, unseen, args.presets)


def excess(row: Row, name: str, opponents: tuple[str, ...], suffix: str = "") -> float:
    """Difference in % of the best opponent."""
    best = min(float(row[o + suffix]) for o in opponents)  # type: ignore[arg-type]
    return 100.0 * (float(row[name + suffix]) / best - 1.0)  # type: ignore[arg-type]


def error(values: list[float]) -> float:
    """Standard error of the mean."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def show_quality(rows: list[Row], presets: list[str]) -> None:
    """Print the quality table."""
    for opponents in (("eplb", "meancov"), ("eplb", "meancov", "lpt")):
        print(f"\nunseen (seen), % against the best of {', '.join(opponents)}")
        for preset in presets:
            for column in dict.fromkeys(str(row["column"]) for row in rows):
                mine = [row for row in rows if row["column"] == column]
                unseen = [excess(row, preset, opponents) for row in mine]
                seen = [excess(row, preset, opponents, " seen") for row in mine]
                worst = max(unseen)
                where = mine[unseen.index(worst)]["instance"]
                print(
                    f"{preset:8} {column:18} {statistics.mean(unseen):+6.2f} "
                    f"+- {error(unseen):.2f} ({statistics.mean(seen):+6.2f})  wins "
                    f"{sum(x < 0 for x in unseen)}/{len(unseen)}, worst {worst:+.2f} "
                    f"{where}"
                )


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "compared on the trace": {"entries": 0},
    "copies by means (z = 0)": {"z": (0.0,)},
    "best of z = 4, 8, 16": {"z": (4.0, 8.0, 16.0)},
    "no quadratic exchanges": {"sweeps": 0},
    "no descent on windows": {"window_work": 0.0},
    "no descent on steps": {"step_work": 0.0},
    "4 times that work": {"step_work": 8.8e6},
    "no annealing": {"anneal": None},
    "1 exchange tried a pair": {"tries": 1},
    "16 exchanges tried a pair": {"tries": 16},
}
TYPICAL = ((256, 32, 288), (256, 32, 256), (128, 16, 128), (64, 8, 72))


def ablation(args: argparse.Namespace) -> Iterator[Row]:
    """The default preset with one ingredient off."""
    for shape in TYPICAL:
        for seed in args.seeds:
            instance = synthetic_instance(
                *shape, steps=2 * STEPS, layers=4, seed=seed, speeds="unequal"
            )
            seen, unseen = instance.split()
            for name, change in VARIANTS.items():
                PRESETS_TABLE["variant"] = stages_of(**(DEFAULT | change))
                start = time.perf_counter()
                placement = solved(seen, "search", preset="variant")
                seconds = time.perf_counter() - start
                yield {
                    "table": "ablation", "column": f"{shape}", "name": name,
                    "instance": instance.name, "unseen": objective(unseen, placement),
                    "seen": objective(seen, placement), "seconds": seconds,
                }  # fmt: skip


def horizon(args: argparse.Namespace) -> Iterator[Row]:
    """Presets and opponents on traces of 16 to 1024 steps; the next 256 are unseen."""
    for shape in TYPICAL:
        for seed in args.seeds:
            instance = synthetic_instance(
                *shape, steps=1024 + STEPS, layers=4, seed=seed, speeds="unequal"
            )
            unseen = instance.steps(1024, 1024 + STEPS)
            for steps in (16, 64, 256, 1024):
                seen = instance.steps(1024 - steps, 1024)
                for name in ("default", "fast", "best", "meancov", "eplb", "lpt"):
                    start = time.perf_counter()
                    preset = {"preset": name} if name in PRESETS else {}
                    solver = "search" if preset else name
                    placement = solved(seen, solver, **preset)
                    yield {
                        "table": "horizon", "column": f"T={steps}", "name": name,
                        "instance": instance.name, "seen": objective(seen, placement),
                        "unseen": objective(unseen, placement),
                        "seconds": time.perf_counter() - start,
                    }  # fmt: skip


def show_paired(rows: list[Row]) -> None:
    """Print every name against ``default`` on the same instance, by column."""
    base = {(r["column"], r["instance"]): r for r in rows if r["name"] == "default"}
    for column in dict.fromkeys(str(row["column"]) for row in rows):
        print(f"\n{column}: % against default, unseen (seen), seconds")
        for name in dict.fromkeys(str(row["name"]) for row in rows):
            mine = [r for r in rows if (r["column"], r["name"]) == (column, name)]
            change = {
                key: [
                    100.0 * (r[key] / base[column, r["instance"]][key] - 1.0)  # type: ignore[operator]
                    for r in mine
                ]
                for key in ("unseen", "seen")
            }
            seconds = statistics.median(float(str(r["seconds"])) for r in mine)
            print(
                f"{name:26} {statistics.mean(change['unseen']):+6.2f} "
                f"+- {error(change['unseen']):.2f} "
                f"({statistics.mean(change['seen']):+6.2f}) {seconds:.3f} s"
            )


def timing(args: argparse.Namespace) -> Iterator[Row]:
    """58 layers, E=256, G=32, 288 slots, T=256: best and median processor time.

    Of all threads together, so that other work on the machine counts little.
    """
    instance = synthetic_instance(256, 32, 288, steps=256, layers=58, seed=100)
    counts = np.ascontiguousarray(instance.counts)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "place_counts (fast, from the trace)": (
            lambda: place_counts(
                counts, instance.slots, base_us=60.0, us_per_token=0.11
            ),
            9,
        ),
        "eplb_phy2log (numpy, from the trace)": (
            lambda: eplb_phy2log(instance.loads @ instance.weights, 288, 1, 1, 32),
            9,
        ),
        "meancov": (lambda: gemopt.solve(instance, "meancov"), 3),
        "search fast, solve()": (lambda: solved(instance, "search", preset="fast"), 5),
        "search default, solve()": (lambda: solved(instance, "search"), 3),
        "search best, jobs=2": (
            lambda: gemopt.solve(instance, "search", params={"preset": "best"}, jobs=2),
            1,
        ),
    }
    for name, (call, repeats) in calls.items():
        call()
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
        row: Row = {
            "table": "time", "name": name, "best ms": round(1e3 * min(seconds), 1),
            "median ms": round(1e3 * statistics.median(seconds), 1),
        }  # fmt: skip
        print(row)
        yield row


def optima(args: argparse.Namespace) -> Iterator[Row]:
    """Presets against proven optima of 240 random instances, E <= 16."""
    shapes = [
        (8, 4, 8), (9, 3, 9), (10, 2, 10), (10, 5, 10), (12, 3, 12), (16, 2, 16),
        (5, 4, 8), (6, 3, 8), (6, 4, 8), (7, 2, 9),
    ]  # fmt: skip
    for experts, gpus, slots in shapes:
        for seed in range(24):
            rng = np.random.default_rng([seed, experts, gpus, slots])
            steps = int(rng.choice([4, 8, 16]))
            counts = rng.poisson(rng.gamma(2.0, 40.0, (steps, 1, experts)))
            speed = rng.uniform(0.85, 1.1, gpus)
            instance = Instance.from_arrays(
                counts, [affine(20 / s, 0.2 / s) for s in speed],
                slots=[slots // gpus + (g < slots % gpus) for g in range(gpus)],
            )  # fmt: skip
            found = {
                preset: gemopt.solve(
                    instance, "search", params={"preset": preset}
                ).objective
                for preset in args.presets
            }
            proven = optimum(instance, min(found.values()))
            yield {
                "table": "optima", "shape": f"E={experts} G={gpus} S={slots}",
                **{p: 100.0 * (cost / proven - 1.0) for p, cost in found.items()},
            }  # fmt: skip


def show_optima(rows: list[Row], presets: list[str]) -> None:
    """Print how often each preset found the optimum, and the worst gap."""
    for preset in presets:
        gaps = [float(str(row[preset])) for row in rows]
        hits = sum(gap < 1e-4 for gap in gaps)
        print(
            f"{preset:8} optimal {hits}/{len(gaps)} ({100 * hits / len(gaps):.1f} %), "
            f"worst gap {max(gaps):.3f} %, mean {statistics.mean(gaps):.4f} %"
        )


def real(args: argparse.Namespace) -> Iterator[Row]:
    """gpt-oss-20b decode steps; seen and unseen come from disjoint requests."""
    folder = Path(
        os.environ.get("GEMOPT_TRACES", Path(__file__).parents[2] / "shared" / "traces")
    )
    path = folder / "gpt-oss-20b-expertfingerprinting" / "mmlu_test.npz"
    with np.load(path, allow_pickle=False) as data:
        ids, offsets = data["expert_ids"], data["request_offsets"]
    for seed in args.seeds:
        order = np.random.default_rng(seed).permutation(len(offsets) - 1)
        halves = np.array_split(order, 2)
        for batch in (32, 128):
            parts = [
                serving_steps(
                    ids, offsets, min(batch, len(half)), experts=32, requests=half,
                    steps=STEPS, seed=seed,
                )
                for half in halves
            ]  # fmt: skip
            for gpus in (4, 8):
                for extra in (0, gpus):
                    for speeds in ("equal", "unequal"):
                        slope = (
                            30.0 * gpus / (4 * batch)
                        )  # half of the base at the mean
                        models = [
                            affine(60 / s, slope / s)
                            for s in gpu_speeds(gpus, speeds, seed)
                        ]
                        slots = np.full(gpus, (32 + extra) // gpus)
                        seen, unseen = (
                            Instance.from_arrays(part, models, slots=slots)
                            for part in parts
                        )
                        row: Row = {
                            "table": "real",
                            "column": f"{speeds}, slots E{'+G' if extra else ''}",
                            "instance": f"batch {batch}, G={gpus}, seed {seed}",
                        }
                        yield judged(row, seen, unseen, args.presets)


def stored(args: argparse.Namespace) -> Iterator[Row]:
    """The instances of measured routing and latency in instances/real."""
    folder = Path(__file__).parents[1] / "instances" / "real"
    for path in sorted(folder.glob("*.json")):
        seen, unseen = gemopt.load(path).split()
        row: Row = {"table": "stored", "column": "stored", "instance": path.stem}
        yield judged(row, seen, unseen, args.presets)


def judged(row: Row, seen: Instance, unseen: Instance, presets: list[str]) -> Row:
    """Add the figures of opponents and presets to a row."""
    for name in ("eplb", "meancov", "lpt", *presets):
        solver = "search" if name in presets else name
        params = {"preset": name} if name in presets else {}
        placement = solved(seen, solver, **params)
        row[name] = objective(unseen, placement)
        row[f"{name} seen"] = objective(seen, placement)
    return row


def size(args: argparse.Namespace) -> Iterator[Row]:
    """One large layer, and the memory of a large trace (run in a fresh process)."""
    big = synthetic_instance(256, 64, 320, steps=1024, layers=58, seed=100)
    solved(big, "search")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yield {"table": "size", "peak GiB, E=256 L=58 T=1024 G=64": round(peak, 2)}
    wide = synthetic_instance(1024, 256, 1280, steps=512, seed=100)
    seen, unseen = wide.split()
    row: Row = {"table": "size", "instance": wide.name}
    for name in ("lpt", "meancov", "default"):
        start = time.perf_counter()
        preset = {"preset": name} if name in PRESETS else {}
        placement = solved(seen, "search" if preset else name, **preset)
        row[f"{name} s"] = round(time.perf_counter() - start, 2)
        row[name] = objective(unseen, placement)
    yield row


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    table.__name__: table
    for table in (quality, ablation, horizon, timing, optima, real, stored, size)
}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(100, 105)))
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--jsonl", type=Path, help="append the raw rows to this file")
    args = parser.parse_args()
    rows = []
    for row in TABLES[args.table](args):
        rows.append(row)
        if args.jsonl:
            with args.jsonl.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    if args.table in ("quality", "real", "stored"):
        show_quality(rows, args.presets)
    elif args.table in ("ablation", "horizon"):
        show_paired(rows)
    elif args.table == "optima":
        show_optima(rows, args.presets)
    elif args.table == "size":
        for row in rows:
            print(row)


if __name__ == "__main__":
    main()
