"""All layers and several starts at once on a GPU, against `search` on a CPU.

Run ``prepare RECORD.json`` where the solvers run (it stores what `search` finds, its
processor times, and the traffic beside it as ``RECORD.npz``), ``measure RECORD.json``
on the machine with the GPU (numpy and torch are enough; it adds its figures to the
record), and ``report RECORD.json`` anywhere.

The batched variant deals copies by volatility, places by finishing time, does the
exchanges of the quadratic stand-in and then those of the true objective; in each round
it does the best exchanges of disjoint pairs of GPUs in every layer and every start at
once. Every objective is computed by the same plain numpy code.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.trials.batched import EXPERTS, GPUS, HELD, SLOTS, Batch
from gemopt.traffic.generate import generate
from gemopt.traffic.synthetic import (
    BASE_US,
    GPU_ASSIGNMENTS,
    US_PER_TOKEN,
    gpu_speeds,
)

LAYERS, STEPS, TOP_K = 58, 256, 8
SPEEDS = ("equal", "unequal")
ALIKE = ("descent", 2)  #: the same search on the CPU, and how often it is timed
STARTS = ((8.0,), (4.0, 8.0, 12.0, 16.0))  #: deviations by which copies are dealt


def traffic(seed: int, layers: int) -> np.ndarray:
    """Counts of twice `STEPS` steps ``[steps, layers, experts]``."""
    tokens = GPU_ASSIGNMENTS * GPUS // TOP_K
    return generate(
        2 * STEPS, layers, EXPERTS, tokens=tokens, top_k=TOP_K, seed=seed
    ).astype(np.int32)


def digest(counts: np.ndarray) -> str:
    """Fingerprint by which a record knows its traffic."""
    return hashlib.sha256(np.ascontiguousarray(counts, "<i4").tobytes()).hexdigest()


def save_traffic(path: Path, layers: int, seeds: list[int]) -> None:
    """Store the traffic: another numpy may draw other numbers from the same seed."""
    drawn: dict[str, Any] = {
        f"seed{seed}": traffic(seed, layers).astype(np.uint16) for seed in seeds
    }
    np.savez_compressed(path.with_suffix(".npz"), **drawn)


def mean_us(counts: np.ndarray, rows: np.ndarray, speeds: str, seed: int) -> float:
    """Objective in us per step and layer, float64."""
    speed, total = gpu_speeds(GPUS, speeds, seed), 0.0
    for layer, row in enumerate(rows):
        copies = np.bincount(row, minlength=EXPERTS)
        share = counts[:, layer] / copies
        load = share[:, row].reshape(len(counts), GPUS, HELD).sum(axis=2)
        total += ((BASE_US + US_PER_TOKEN * load) / speed).max(axis=1).sum()
    return float(total) / len(counts) / len(rows)


def prepare(path: Path, layers: int, seeds: list[int]) -> None:
    """Store placements' quality and processor times of `search`, one thread."""
    import gemopt
    from gemopt.traffic import synthetic_instance
    from gemopt_solvers.search.presets import BEST, PRESETS
    from gemopt_solvers.search.presets import preset as stages_of

    # What the GPU does: descent on the given steps to its end, no annealing.
    alike = {"z": (4.0, 8.0), "tries": 4, "anneal": None, "rounds": 0, "entries": 0}
    PRESETS[ALIKE[0]] = stages_of(**(BEST | alike))
    record: dict[str, Any] = {}
    if path.exists():  # what the GPU did stays while the traffic is the same
        record = json.loads(path.read_text(encoding="utf-8"))
    record |= {"layers": layers, "seeds": seeds, "cpu": []}
    for seed in seeds:
        for speeds in SPEEDS:
            seen, unseen = synthetic_instance(
                EXPERTS, GPUS, SLOTS, steps=2 * STEPS, layers=layers, seed=seed,
                speeds="equal" if speeds == "equal" else "unequal",
            ).split()  # fmt: skip
            for preset, repeats in (("fast", 5), ("default", 3), ("best", 1), ALIKE):
                params: dict[str, object] = {"preset": preset}
                seconds = []
                for _ in range(repeats + 1):  # the first one warms up
                    start = time.process_time()
                    result = gemopt.solve(seen, "search", params=params, trace=False)
                    seconds.append(time.process_time() - start)
                assert result.placement is not None
                rows = result.placement.phy2log
                row = {
                    "seed": seed, "speeds": speeds, "name": preset,
                    "ms": 1e3 * statistics.median(seconds[1:]),
                    "seen": mean_us(seen.counts, rows, speeds, seed),
                    "unseen": mean_us(unseen.counts, rows, speeds, seed),
                }  # fmt: skip
                record["cpu"].append(row)
        record[f"digest {seed}"] = digest(traffic(seed, layers))
    save_traffic(path, layers, seeds)
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")


def placed(
    counts: np.ndarray, starts: tuple[float, ...], speed: np.ndarray, device: str,
    steps: Callable[[Batch], object],
) -> np.ndarray:  # fmt: skip
    """Place all layers from counts on the host; the best start of each layer."""
    batch = Batch(
        torch.from_numpy(counts).to(device), starts,
        torch.tensor(speed, dtype=torch.float32, device=device),
    )  # fmt: skip
    steps(batch)
    cost = batch.latency(batch.row).amax(1).sum(1).view(len(starts), -1)
    rows = batch.row.view(len(starts), -1, SLOTS)
    layers = torch.arange(rows.shape[1], device=device)
    chosen: np.ndarray = rows[cost.argmin(0), layers].cpu().numpy()
    return chosen


def measure(path: Path, device: str, repeats: int) -> None:
    """Add the batched variant's quality and times to the record."""
    record = json.loads(path.read_text(encoding="utf-8"))
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    record["gpu"], record["device"] = [], f"{name}, torch {torch.__version__}"
    variants: dict[str, Callable[[Batch], object]] = {
        "quadratic": Batch.quadratic,
        "refined": lambda batch: (batch.quadratic(), batch.refine()),
    }
    for seed in record["seeds"]:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
            counts = file[f"seed{seed}"].astype(np.int32)
        if digest(counts) != record[f"digest {seed}"]:
            raise SystemExit(f"seed {seed}: the traffic differs from that of {path}")
        seen, unseen = np.ascontiguousarray(counts[:STEPS]), counts[STEPS:]
        for speeds in SPEEDS:
            speed = gpu_speeds(GPUS, speeds, seed)
            for label, steps in variants.items():
                for starts in STARTS:
                    seconds = []
                    for _ in range(repeats + 1):  # the first one warms up
                        start = time.perf_counter()
                        rows = placed(seen, starts, speed, device, steps)
                        seconds.append(time.perf_counter() - start)
                    row = {
                        "seed": seed, "speeds": speeds,
                        "name": f"{label}, {len(starts)} starts",
                        "ms": 1e3 * statistics.median(seconds[1:]),
                        "seen": mean_us(seen, rows, speeds, seed),
                        "unseen": mean_us(unseen, rows, speeds, seed),
                        "feasible": feasible(rows),
                    }  # fmt: skip
                    print(row, flush=True)
                    record["gpu"].append(row)
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")


def feasible(rows: np.ndarray) -> bool:
    """Every expert is somewhere, and no GPU holds one twice."""
    held = np.sort(rows.reshape(len(rows), GPUS, HELD), axis=2)
    everywhere = all(len(np.unique(row)) == EXPERTS for row in rows)
    return everywhere and not bool((held[..., 1:] == held[..., :-1]).any())


def report(path: Path) -> None:
    """Print both sides, in % of the objective of ``default`` on the CPU."""
    record = json.loads(path.read_text(encoding="utf-8"))
    print(
        f"{record['layers']} layers; GPU side: {record.get('device', 'not measured')}"
    )
    base = {
        (r["seed"], r["speeds"]): r for r in record["cpu"] if r["name"] == "default"
    }
    for speeds in SPEEDS:
        for side in ("cpu", "gpu"):
            rows = [r for r in record.get(side, []) if r["speeds"] == speeds]
            for name in dict.fromkeys(r["name"] for r in rows):
                mine = [r for r in rows if r["name"] == name]
                change = {
                    key: statistics.mean(
                        100.0 * (r[key] / base[r["seed"], speeds][key] - 1.0)
                        for r in mine
                    )
                    for key in ("unseen", "seen")
                }
                ms = statistics.median(r["ms"] for r in mine)
                print(
                    f"{speeds:8} {side} {name:20} unseen {change['unseen']:+.2f} % "
                    f"(seen {change['seen']:+.2f} %), {ms:.1f} ms"
                )


def main() -> None:
    """Prepare, measure or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("prepare", "measure", "report"))
    parser.add_argument("record", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.part == "prepare":
        prepare(args.record, args.layers, args.seeds)
    elif args.part == "measure":
        measure(args.record, args.device, args.repeats)
    else:
        report(args.record)


if __name__ == "__main__":
    main()
