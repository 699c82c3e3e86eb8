"""What a few hundred steps tell about the next ones: ceilings and resampling.

Run ``python -m benchmarks.generalise ceiling|resampling [--seeds 100 ...]``.

``ceiling`` places by preset ``best`` on 2,048 other steps of the very process that made
an instance (same experts, same popularities), and on the unseen steps themselves. No
method that sees 256 steps can be expected to do better than the former; the latter
knows the future. ``resampling`` judges by the trace alone, by shifted steps alone, and
by the mixture that `search` chooses (`evaluation_steps.resample`). Figures are in % of
the best of eplb and meancov on unseen steps, mean +- standard error over instances.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import gemopt
from benchmarks.search import LAYERS, SHAPES, STEPS, error, objective, solved
from gemopt import Instance
from gemopt.traffic import synthetic_instance
from gemopt_solvers.search.evaluation_steps import resample
from gemopt_solvers.search.presets import BEST, PRESETS
from gemopt_solvers.search.presets import preset as stages_of

LONG = 2048
OPPONENTS = ("eplb", "meancov")
SOME = ((64, 8), (64, 32), (128, 16), (256, 32), (256, 64))

Row = dict[str, str | float]


def cases(
    shapes: tuple[tuple[int, int], ...], seeds: list[int]
) -> Iterator[tuple[Row, Instance, Instance, Instance]]:
    """Column and figures of the opponents; seen, unseen, and steps of the process."""
    for speeds in ("equal", "unequal"):
        for extra in (0, 1):
            for experts, gpus in shapes:
                for seed in seeds:
                    whole, other = (
                        synthetic_instance(
                            experts, gpus, experts + extra * gpus, steps=steps,
                            layers=LAYERS, seed=seed,
                            speeds="equal" if speeds == "equal" else "unequal",
                        )
                        for steps in (2 * STEPS, 2 * STEPS + LONG)
                    )  # fmt: skip
                    seen, unseen = whole.split()
                    column = f"{speeds}, slots E{'+G' if extra else ''}"
                    row: Row = {"column": column, "instance": whole.name}
                    for name in (*OPPONENTS, "lpt"):
                        row[name] = objective(unseen, solved(seen, name))
                    # The first steps share their drift with the seen ones: left out.
                    yield row, seen, unseen, other.steps(2 * STEPS, 2 * STEPS + LONG)


def placed(steps: Instance, unseen: Instance, name: str, on: bool) -> float:
    """Objective on `unseen` of a placement found on `steps`."""
    return objective(unseen, solved(steps, "search", preset=name, resample=on))


def ceiling(seeds: list[int]) -> Iterator[Row]:
    """Placements on other steps of the process, and on the unseen ones."""
    # Windows of longer traces are wider and swing less: larger z must be on offer.
    PRESETS["oracle"] = stages_of(**(BEST | {"z": (4.0, 8.0, 16.0, 32.0)}))
    for row, seen, unseen, other in cases(SHAPES, seeds):
        row["best"] = placed(seen, unseen, "best", True)
        row["best on the process"] = placed(other, unseen, "oracle", False)
        row["best on the unseen steps"] = placed(unseen, unseen, "best", False)
        yield row


def resampling(seeds: list[int]) -> Iterator[Row]:
    """Presets judged by the trace, by shifts alone, and by the mixture."""
    for row, seen, unseen, _ in cases(SOME, seeds):
        for preset in ("default", "best"):
            row[f"{preset}, trace"] = placed(seen, unseen, preset, False)
            with patch.object(resample, "kept_blocks", lambda *_: 0):
                row[f"{preset}, shifts"] = placed(seen, unseen, preset, True)
            with patch.object(resample, "kept_blocks", lambda *_: resample.BLOCKS // 2):
                row[f"{preset}, half of each"] = placed(seen, unseen, preset, True)
            row[f"{preset}, mixture"] = placed(seen, unseen, preset, True)
        yield row


def show(rows: list[Row]) -> None:
    """Print every figure by column; of ceilings also with lpt among the opponents."""
    names = [k for k in rows[0] if k not in ("column", "instance", *OPPONENTS)]
    for opponents in (OPPONENTS, (*OPPONENTS, "lpt")):
        print(f"\nunseen, % against the best of {', '.join(opponents)}")
        for name in names:
            cells = []
            for column in dict.fromkeys(str(row["column"]) for row in rows):
                values = [
                    100.0 * (float(row[name]) / min(float(row[o]) for o in opponents))
                    - 100.0
                    for row in rows
                    if row["column"] == column
                ]
                cells.append(
                    f"{column} {statistics.mean(values):+.2f} +- {error(values):.2f}, "
                    f"worst {max(values):+.2f}"
                )
            print(f"{name:26} " + " | ".join(cells))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=("ceiling", "resampling"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(100, 105)))
    parser.add_argument("--jsonl", type=Path, help="append the raw rows to this file")
    args = parser.parse_args()
    rows = []
    for row in (ceiling if args.table == "ceiling" else resampling)(args.seeds):
        rows.append(row)
        if args.jsonl:
            with args.jsonl.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print(f"gemopt {gemopt.__version__}, seeds {args.seeds}, {len(rows)} instances")
    show(rows)


if __name__ == "__main__":
    main()
