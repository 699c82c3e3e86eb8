"""Exact solving: what is proven in how long, and heuristics against proven optima.

    python -m benchmarks.exact proofs       # 200 small instances, 60 with replicas
    python -m benchmarks.exact hard         # E = 32, G = 4, T = 16, a minute each
    python -m benchmarks.exact frontier     # a grid of sizes, 10 s each
    python -m benchmarks.exact heuristics   # solvers against the optima of `proofs`

Runs are appended to ``--runs FILE`` and not repeated when it has them, so that an
interruption costs nothing; tables are printed from the file.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import gemopt
from benchmarks.layers import bursts, shaped
from benchmarks.small import Small, model, with_replicas, without_replicas
from gemopt import Instance, Result
from gemopt.files.best_known import read_best_known
from gemopt.files.catalog import read_catalog
from gemopt.files.instance_file import read
from gemopt.files.journal import Journal
from gemopt.study.bench import machine

Record = dict[str, Any]
INSTANCES = Path(__file__).parents[1] / "instances"
EQUAL = 1e-9  #: costs this close, relative, are equal
SOLVERS = (
    ("linear", None),
    ("random", None),
    ("eplb", None),
    ("lpt", None),
    ("meancov", None),
    ("gem", None),
    ("cluster", None),
    ("search", "fast"),
    ("search", "default"),
    ("search", "best"),
)


class Runs:
    """Records in a file, one a line, by part, instance and solver."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.known = {self._key(r): r for r in self.journal.entries}

    @staticmethod
    def _key(record: Record) -> tuple[str, str, str]:
        return record["part"], record["instance"], record["solver"]

    def get(
        self, part: str, name: str, solver: str, make: Callable[[], Record]
    ) -> Record:
        """Return the record, made now if the file lacks it."""
        key = (part, name, solver)
        if key not in self.known:
            record = {"part": part, "instance": name, "solver": solver, **make()}
            self.journal.add(record)
            self.known[key] = record
        return self.known[key]


def outcome(run: Result) -> Record:
    """What is kept of a run."""
    return {
        "status": str(run.status),
        "objective_us": run.objective,
        "bound_us": run.lower_bound,
        "seconds": run.seconds,
    }


def size(instance: Instance) -> Record:
    """Experts, GPUs, steps."""
    return {
        "experts": instance.num_experts,
        "gpus": instance.num_gpus,
        "steps": instance.num_steps,
        "spare": instance.num_slots - instance.num_experts,
    }


def warm_up(solvers: set[str]) -> None:
    """Compile before the clock runs."""
    for small in (without_replicas(1), without_replicas(8), with_replicas(1)):
        for solver in solvers:
            limit = 1.0 if solver in ("cpsat", "milp", "exact", "bnb") else None
            with suppress(ValueError):  # EPLB knows equal slots only
                gemopt.solve(small.instance, solver, time_limit=limit, iterations=1)
    if "exact" in solvers:  # which takes it for larger layers
        gemopt.solve(shaped(bursts(12, 1)[:4], 3, True, 0), "lpbb")


def table(titles: list[str], rows: list[list[object]]) -> None:
    """Print Markdown."""
    for row in (titles, ["---"] * len(titles), *rows):
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def proven(records: list[Record]) -> list[object]:
    """Share proven, mean gap of the others, median and largest seconds."""
    open_gaps = [
        1 - r["bound_us"] / r["objective_us"]
        for r in records
        if r["status"] != "optimal"
    ]
    seconds = [r["seconds"] for r in records]
    mean = f"{100 * np.mean(open_gaps):.2f} %" if open_gaps else "-"
    return [
        f"{len(records) - len(open_gaps)} of {len(records)}",
        mean,
        f"{np.median(seconds):.2f}",
        f"{max(seconds):.1f}",
    ]


PROVEN = ["proven", "mean gap of the others", "median s", "longest s"]


def small_instances() -> Iterator[Small]:
    """The 200 without replicas, and 60 with."""
    yield from map(without_replicas, range(200))
    yield from map(with_replicas, range(60))


def proofs(args: argparse.Namespace, runs: Runs) -> None:
    """Share proven within ten seconds, by set, family and solver."""
    warm_up(set(args.solver))
    rows: dict[tuple[str, ...], list[Record]] = {}
    for small in small_instances():
        for solver in args.solver:

            def solve(small: Small = small, solver: str = solver) -> Record:
                run = gemopt.solve(
                    small.instance, solver, time_limit=args.seconds, jobs=args.jobs
                )
                kind = {"family": small.family, "unequal": small.unequal}
                return {**size(small.instance), **kind, **outcome(run)}

            record = runs.get("proofs", small.name, solver, solve)
            plain = record["spare"] == 0
            many = "G <= 4" if record["gpus"] <= 4 else "G = 5..8"
            name = "no replicas" if plain else f"slots E + G, {many}"
            rows.setdefault((solver, name, "all"), []).append(record)
            if plain:
                gpus = "unequal" if record["unequal"] else "equal"
                rows.setdefault((solver, name, gpus), []).append(record)
                rows.setdefault((solver, name, record["family"]), []).append(record)
    listed = [[*key, *proven(records)] for key, records in sorted(rows.items())]
    table(["solver", "set", "part", *PROVEN], listed)


def hard(args: argparse.Namespace, runs: Runs) -> None:
    """E = 32, G = 4, T = 16, lines, equal and unequal GPUs."""
    warm_up(set(args.solver))
    rows: dict[tuple[str, str], list[Record]] = {}
    for seed in range(args.count):
        for unequal in (False, True):
            gpus = "unequal" if unequal else "equal"
            instance = shaped(bursts(32, 500 + seed)[:16], 4, unequal, seed)
            for solver in args.solver:

                def solve(
                    instance: Instance = instance, solver: str = solver
                ) -> Record:
                    limit = args.seconds
                    return outcome(
                        gemopt.solve(instance, solver, time_limit=limit, jobs=args.jobs)
                    )

                record = runs.get("hard", f"{gpus}-{seed}", solver, solve)
                rows.setdefault((gpus, solver), []).append(record)
    listed = [[*key, *proven(records)] for key, records in sorted(rows.items())]
    table(["GPUs", "solver", *PROVEN], listed)


def frontier(args: argparse.Namespace, runs: Runs) -> None:
    """Share proven by `exact` over a grid of sizes."""
    warm_up({"exact"})
    cases = (("affine", False), ("affine", True), ("step", True))
    rows: list[list[object]] = []
    for experts in (16, 20, 24, 32):
        for gpus in (4, 8):
            for steps in (4, 16, 64):
                cells: list[object] = []
                for family, unequal in cases:
                    records = [
                        _cell(args, runs, experts, gpus, steps, family, unequal, seed)
                        for seed in range(args.count)
                    ]
                    won = sum(r["status"] == "optimal" for r in records)
                    gap = np.mean(
                        [1 - r["bound_us"] / r["objective_us"] for r in records]
                    )
                    cells.append(f"{won} of {len(records)} ({100 * gap:.1f} %)")
                rows.append([experts, gpus, steps, *cells])
    titles = ["E", "G", "T", "lines, equal", "lines, unequal", "staircases, unequal"]
    table(titles, rows)


def _cell(
    args: argparse.Namespace,
    runs: Runs,
    experts: int,
    gpus: int,
    steps: int,
    family: str,
    unequal: bool,
    seed: int,
) -> Record:
    def solve() -> Record:
        rng = np.random.default_rng(30_000 + seed)
        one = model(family, rng)
        models = [model(family, rng) if unequal else one for _ in range(gpus)]
        counts = bursts(experts, 30_000 + seed)[:steps, None]
        slots = experts // gpus + (np.arange(gpus) < experts % gpus)
        instance = Instance.from_arrays(counts, models, slots=slots)
        limit = args.seconds
        return outcome(
            gemopt.solve(instance, "exact", time_limit=limit, jobs=args.jobs)
        )

    gpus_are = "unequal" if unequal else "equal"
    name = f"e{experts}-g{gpus}-t{steps}-{family}-{gpus_are}-{seed}"
    return runs.get("frontier", name, "exact", solve)


def optima(runs: Runs) -> Iterator[tuple[str, Instance, float]]:
    """Instances with a proven optimum: those of `proofs`, and the stored tiny ones."""
    best: dict[str, float] = {}
    for (part, name, _), record in runs.known.items():
        if part == "proofs" and record["status"] == "optimal":
            best[name] = min(best.get(name, np.inf), record["objective_us"])
    for small in small_instances():
        if small.name in best:
            yield small.name, small.instance, best[small.name]
    known = read_best_known(INSTANCES)
    for entry in read_catalog(INSTANCES).instances:
        value = known[entry.name].value_us
        if entry.name.startswith("tiny") and known[entry.name].tag == "opt" and value:
            yield entry.name, read(INSTANCES / entry.path), value


def heuristics(args: argparse.Namespace, runs: Runs) -> None:
    """Every heuristic against the optimum; times are of one thread."""
    warm_up({name for name, _ in SOLVERS})
    excess: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    many = 0
    for name, instance, best in optima(runs):
        many += 1
        for solver, preset in SOLVERS:
            label = solver if preset is None else f"{solver} {preset}"

            def solve(
                instance: Instance = instance,
                solver: str = solver,
                preset: str | None = preset,
            ) -> Record:
                params: dict[str, object] = {}
                if preset is not None:  # the cost of these steps is what is compared
                    params = {"preset": preset, "resample": False}
                try:
                    return outcome(gemopt.solve(instance, solver, params=params))
                except ValueError as error:  # EPLB knows equal slots only
                    return {"refused": str(error)}

            record = runs.get("heuristics", name, label, solve)
            if "refused" in record:
                continue
            excess.setdefault(label, []).append(record["objective_us"] / best - 1)
            seconds.setdefault(label, []).append(record["seconds"])
    print(f"{many} instances with a proven optimum.\n")
    rows: list[list[object]] = []
    for label, values in excess.items():
        gap = np.array(values)
        rows.append(
            [
                label,
                len(gap),
                f"{100 * gap.mean():.2f} %",
                f"{100 * gap.max():.2f} %",
                f"{100 * (gap <= EQUAL).mean():.1f} %",
                f"{np.median(seconds[label]):.4f}",
            ]
        )
    table(
        ["solver", "instances", "mean over optimum", "worst", "optimal", "median s"],
        rows,
    )


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = (proofs, hard, frontier, heuristics)
    parser.add_argument("part", choices=[part.__name__ for part in parts])
    parser.add_argument("--runs", type=Path, default=Path("exact.jsonl"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="threads of each solve")
    parser.add_argument("--solver", action="append")
    args = parser.parse_args()
    args.solver = args.solver or ["exact"]
    print(machine(1) | {"cores_per_run": args.jobs}, "\n")
    next(part for part in parts if part.__name__ == args.part)(args, Runs(args.runs))


if __name__ == "__main__":
    main()
