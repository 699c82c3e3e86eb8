"""Tunes the grouped kernel's tiles for the seven shapes.

Writes the tables for `gemopt_gpu_bench/backends/tile_tables.json`. Needs one GPU:
``python -m benchmarks.tune_tiles OUT_FOLDER``; `backends.py` then compares.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from gemopt.traffic.shapes import SHAPES
from gemopt_gpu_bench import backends, selftest
from gemopt_gpu_bench.backends.tiles import KernelConfig, TileTable, table_key
from gemopt_gpu_bench.backends.tune_tiles import CANDIDATES, Tuner
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.timing import Pacer, make_timer
from gemopt_gpu_bench.profile.targets import EXPERTS_PER_GPU

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


def main() -> None:
    """Run everything and print a short table last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    device = torch.device("cuda", 0)
    args.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
        list(pool.map(compile_some, range(8), [8] * 8))
    print(f"compiled after {time.perf_counter() - began:.0f} s", flush=True)
    checks = [
        check
        for name in backends.NAMES
        for check in selftest.check_backend(name, device)
    ]
    print(selftest.table_text(checks), flush=True)
    print(devices.describe(device, devices.clocks_of(device)), flush=True)
    tables: dict[str, Any] = {}
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
        print(f"{name} e{experts} after {time.perf_counter() - began:.0f} s")
        tuner = Tuner(layer, timer, Pacer(0.5), shape.experts, print)
        tables[key] = tuner.table(MAX_TOKENS).to_json()
        (args.out / "tile_tables.json").write_text(json.dumps(tables, indent=1))
        del layer, timer
    print(f"done after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
