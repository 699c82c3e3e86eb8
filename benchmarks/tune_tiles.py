"""Tunes the grouped kernel's tiles for the seven shapes and compares the backends.

Writes the tables for `gpu_bench/tile_tables.json` and a JSON of the comparison. Needs
one GPU: ``python benchmarks/tune_tiles.py OUT_FOLDER [--keep-tables]``.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from gemopt.traffic.shapes import SHAPES
from gpu_bench import backends, devices, selftest
from gpu_bench.layer import ExpertLayer
from gpu_bench.sampling import balanced
from gpu_bench.stats import summary
from gpu_bench.targets import EXPERTS_PER_GPU
from gpu_bench.tiles import KernelConfig, TileTable, known_table, table_key
from gpu_bench.timing import Pacer, make_timer
from gpu_bench.tune import CANDIDATES, Tuner

MAX_TOKENS = 8192


def compile_some(index: int, count: int) -> None:
    """Compile every count-th pair of candidates, so that processes share the work."""
    device = torch.device("cuda", 0)
    layer = ExpertLayer(256, 256, 2, 300, device=device)
    pairs = [
        (block_m, gates[i % len(gates)], downs[i % len(downs)])
        for block_m, (gates, downs) in CANDIDATES.items()
        for i in range(max(len(gates), len(downs)))
    ]
    for block_m, gate, down in pairs[index::count]:
        table = TileTable(((inf, KernelConfig(block_m, gate, down)),))
        try:
            backends.make("triton", table=table).bind(layer, [40, 30], 1.0)(0)
            torch.cuda.synchronize()
        except Exception as error:  # reported again by the tuner
            print(block_m, gate, down, error)


def compare(
    layer: ExpertLayer, timer: Any, total: int, points: list[int], table: TileTable
) -> list[dict[str, Any]]:
    """Time the three backends at balanced loads."""
    pacer, rows = Pacer(0.25), []
    chosen = {n: backends.make(n, table=table) for n in backends.NAMES}
    for tokens in points:
        load = balanced("compare", layer.experts, tokens)
        row: dict[str, Any] = {"tokens": tokens}
        for name, backend in chosen.items():
            launch = backend.bind(layer, load.counts, load.mean_tokens)
            copies = layer.copies_for(load.counts)
            floor = layer.floor_us(load.counts, 3.0, 800.0)
            samples = timer.start(launch, copies, floor, 4)()
            pacer.rest(sum(samples) * copies)
            row[name] = round(summary(samples).median, 2)
        rows.append(row)
    return rows


def main() -> None:
    """Run everything and print a short table last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep-tables", action="store_true")
    parser.add_argument("--points", type=int, default=96)
    args = parser.parse_args()
    began = time.perf_counter()
    device = torch.device("cuda", 0)
    if not args.keep_tables:
        with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
            list(pool.map(compile_some, range(8), [8] * 8))
        print(f"compiled after {time.perf_counter() - began:.0f} s", flush=True)
    checks = [
        check
        for name in backends.NAMES
        for check in selftest.check_backend(name, device)
    ]
    print(selftest.table_text(checks), flush=True)
    ceilings = devices.measure_ceilings(device)
    print(ceilings, devices.describe(device, devices.clocks_of(device)), flush=True)
    tables: dict[str, Any] = {}
    result: dict[str, Any] = {"ceilings": vars(ceilings), "shapes": {}}
    for name, shape in SHAPES.items():
        experts = EXPERTS_PER_GPU[name]
        key = table_key(shape.hidden, shape.intermediate, experts)
        torch.cuda.empty_cache()
        layer = ExpertLayer(
            shape.hidden,
            shape.intermediate,
            experts,
            2 * MAX_TOKENS,
            device=device,
            cache_bytes=devices.cache_bytes(device),
        )
        timer = make_timer(device)
        if args.keep_tables:
            table = known_table(shape.hidden, shape.intermediate, experts)
        else:
            print(
                f"{name} e{experts} after {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            tuner = Tuner(layer, timer, Pacer(0.5), shape.experts, print)
            table = tuner.table(MAX_TOKENS)
        tables[key] = table.to_json()
        grid = np.unique(np.geomspace(1, MAX_TOKENS, args.points).astype(int))
        rng = np.random.default_rng(1)
        grid = rng.permutation(grid)
        rows = compare(layer, timer, shape.experts, grid.tolist(), table)
        result["shapes"][name] = {"experts": experts, "rows": rows}
        (args.out / "tile_tables.json").write_text(json.dumps(tables, indent=1))
        (args.out / "backends.json").write_text(json.dumps(result))
        worst = [
            (r["triton"] / min(r["grouped_mm"], r["loop"]), r["tokens"]) for r in rows
        ]
        print(name, "worst ratios", [(round(a, 3), t) for a, t in sorted(worst)[-6:]])
        rows.sort(key=lambda row: row["tokens"])
        for r in rows[:: max(1, len(rows) // 9)]:
            flops = 6 * r["tokens"] * shape.hidden * shape.intermediate
            active = min(r["tokens"], experts) * layer.expert_bytes
            print(
                f"  T={r['tokens']:5d} triton {r['triton']:8.1f} gmm "
                f"{r['grouped_mm']:8.1f} loop {r['loop']:8.1f}  "
                f"{flops / r['triton'] / 1e6:6.1f} TFLOP/s "
                f"{active / r['triton'] / 1e6:5.2f} TB/s",
                flush=True,
            )
        del layer, timer
    print(f"done after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
