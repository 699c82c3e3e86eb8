"""Speed of evaluation, of moves, of `gem` and of the command line, beside targets.

`python -m benchmarks.evaluate [--json FILE]`. One thread; compilation is not counted.
Times are medians, so that a busy machine disturbs them less; the table names it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import gemopt
from gemopt.cost.incremental import LayerState
from gemopt.cost.move_kernels import swap_objective
from gemopt.jit import kernel
from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)
from gemopt.latency.variability import emulated_curve, emulated_speeds
from gemopt.model.instance import Instance
from gemopt.traffic import generate, shape
from gemopt.traffic.synthetic import even_slots
from gemopt_solvers.gem.solver import SwapSearch

ROOT = Path(__file__).parents[1]
Row = tuple[str, float, float, str]  # what, found, target, unit
STAIRS = [(128.0 * k, 60.0 + 14.0 * k) for k in range(1, 33)]
CURVE = [(x, y + 3.0 * (i % 3)) for i, (x, y) in enumerate(STAIRS)]
TILES = TileActive(12.0, 2.4, 0.7, 0.02, tile=64)
#: Latency model of a GPU of speed 1, and the target for a full evaluation, seconds.
FAMILIES: dict[str, tuple[LatencyModel, float]] = {
    "TokenCurve affine": (affine(60.0, 0.11), 0.10),
    "TokenCurve step": (TokenCurve(STAIRS), 0.10),
    "TokenCurve linear": (TokenCurve(CURVE, "linear"), 0.10),
    "TileActive": (TILES, 0.15),
    "Roofline": (Roofline(Line(12.0, 2.4), Line(8.0, 0.0, 0.9, 0.02)), 0.15),
    "Regimes": (Regimes([(10_000, affine(60.0, 0.1)), (np.inf, TILES)]), 0.15),
}


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call`, after one call that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def evaluation() -> list[Row]:
    """Full evaluation of 58 layers, 256 experts, 288 slots, 32 GPUs, 256 steps."""
    counts = generate(256, 58, 256, tokens=4096, top_k=8)
    rows: list[Row] = []
    for name, (model, target) in FAMILIES.items():
        instance = Instance.from_arrays(counts, [model] * 32, slots=even_slots(288, 32))
        placement = gemopt.solve(instance, "linear").placement
        assert placement is not None
        seconds = median_seconds(
            lambda i=instance, p=placement: gemopt.evaluate(i, p), 7
        )
        rows.append((f"evaluate, {name}", seconds, target, "s"))
    return rows


@kernel
def all_swaps(tables: Any, state: Any, slots: np.ndarray) -> float:
    """Sum the objectives of many swaps, so that no Python call is timed."""
    total = 0.0
    for i in range(slots.shape[0]):
        total += swap_objective(tables, state, slots[i, 0], slots[i, 1])
    return total


def swaps() -> list[Row]:
    """Evaluation of one swap of two slots at 256 steps."""
    counts = generate(256, 1, 256, tokens=4096, top_k=8)
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for name, (model, _) in FAMILIES.items():
        instance = Instance.from_arrays(counts, [model] * 32, slots=even_slots(288, 32))
        start = gemopt.solve(instance, "linear").placement
        assert start is not None
        layer = LayerState(instance, 0, start.phy2log[0])
        slots = rng.integers(0, 288, (20_000, 2))
        slots = slots[slots[:, 0] // 9 != slots[:, 1] // 9]  # on two GPUs
        held = start.phy2log[0]
        slots = slots[held[slots[:, 0]] != held[slots[:, 1]]]
        seconds = median_seconds(
            lambda s=slots, x=layer: all_swaps(x.tables, x.state, s), 7
        )
        target = 1.5 if name in ("TokenCurve affine", "TokenCurve step") else np.nan
        rows.append((f"one swap, {name}", 1e6 * seconds / len(slots), target, "us"))
    return rows


def paper_search() -> list[Row]:
    """`gem` on the shape and the trace length of the paper: Llama-4-Scout, 16 steps."""
    sizes = shape("Llama-4-Scout")
    rows: list[Row] = []
    seconds, gaps = [], []
    for seed in range(1, 6):
        counts = generate(
            16, sizes.layers, sizes.experts, tokens=1024, top_k=1, seed=seed
        )
        curves = [
            emulated_curve(
                float(speed),
                experts=4,
                hidden=sizes.hidden,
                intermediate=sizes.intermediate,
                max_tokens=1024,
            )
            for speed in emulated_speeds(4, "high", seed)
        ]
        instance = Instance.from_arrays(counts, curves)
        seconds.append(median_seconds(lambda i=instance: gemopt.solve(i, "gem"), 3))
        found = gemopt.solve(instance, "gem").objective
        gaps.append(100 * (found / plain_restarts(instance, seed) - 1))
    rows.append(("gem, Llama-4-Scout, 16 steps", statistics.median(seconds), 0.5, "s"))
    rows.append(("  worst of 5 seeds against 20 plain restarts", max(gaps), 0.0, "%"))
    rows.append(("  mean of 5 seeds", statistics.mean(gaps), np.nan, "%"))
    return rows


class PlainRestarts(SwapSearch):
    """The descent of `gem` from random rows: nothing constructed, nothing kept."""

    def _first_row(self, layer: int, turn: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, layer, turn])
        return rng.permutation(self.instance.num_experts)


def plain_restarts(instance: Instance, seed: int, restarts: int = 20) -> float:
    """Objective in us, the best of all restarts kept in every layer."""
    start = np.tile(np.arange(instance.num_experts), (instance.num_layers, 1))
    search = PlainRestarts(instance, seed, start)
    for layer in range(instance.num_layers):
        for turn in range(restarts):
            for _ in search.work(layer, turn):
                pass
    return gemopt.evaluate(instance, search.best.placement).objective


def commands() -> list[Row]:
    """Wall time of commands in processes of their own, start-up included."""
    tiny = ROOT / "instances" / "tiny" / "tiny-affine-e6-g2-unequal.json"
    gemopt_command = [sys.executable, "-m", "gemopt"]

    def wall(command: list[str]) -> float:
        return median_seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, cwd=ROOT),
            7,
        )

    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "answer.placement.json")
        solve = [*gemopt_command, "solve", str(tiny), "-o", target]
        return [
            ("gemopt solve, tiny instance", wall(solve), 1.0, "s"),
            ("gemopt --help", wall([*gemopt_command, "--help"]), 0.4, "s"),
            ("import gemopt", wall([sys.executable, "-c", "import gemopt"]), 0.4, "s"),
        ]


def main() -> None:
    """Run all parts and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = [*evaluation(), *swaps(), *paper_search(), *commands()]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python", end=" ")
    print(f"{platform.python_version()}, gemopt {gemopt.__version__}")
    for what, found, target, unit in rows:
        verdict = "" if np.isnan(target) else "ok" if found <= target else "MISSED"
        goal = "" if np.isnan(target) else f"<= {target:g}"
        print(f"{what:46} {found:9.4g} {unit:3} {goal:9} {verdict}")
    if options.json:
        keys = ("what", "found", "target", "unit")
        table = [dict(zip(keys, row, strict=True)) for row in rows]
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
