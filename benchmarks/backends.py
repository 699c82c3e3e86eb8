"""Times the three backends side by side, against the ceilings of the card.

``python -m benchmarks.backends OUT [--points 40] [--model NAME]`` needs one GPU and
numpy, torch, Triton. Writes ``backends.json`` after each shape and prints tables;
``--tables`` prints them again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gemopt.files.atomic import write_text
from gemopt.traffic.shapes import SHAPES
from gemopt_gpu_bench import backends, selftest
from gemopt_gpu_bench.backends.tiles import known_table
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import balanced
from gemopt_gpu_bench.measure.timing import Pacer, make_timer
from gemopt_gpu_bench.profile.profile import make_layer
from gemopt_gpu_bench.profile.settings import DUTY, settings_for
from gemopt_gpu_bench.stats import summary

SHOWN = (1, 4, 16, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)
ALLOWED = 0.10  # slower than the best other by more than this is a miss


def token_counts(count: int) -> list[int]:
    """Counts of the table, and others log-spaced between them."""
    others = np.geomspace(1, SHOWN[-1], count).round().astype(int)
    return sorted({*SHOWN, *others.tolist()})


def compare(
    layer: ExpertLayer, timer: Any, names: Sequence[str], counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Time every backend at balanced loads in random order; us, median of 5."""
    rng, pacer = np.random.default_rng(0), Pacer(DUTY["burst"])
    table = known_table(layer.hidden, layer.intermediate, layer.experts)
    made = {name: backends.make(name, table=table) for name in names}
    times: dict[int, dict[str, float]] = {tokens: {} for tokens in counts}
    for tokens in rng.permutation(counts):
        load = balanced("compare", layer.experts, int(tokens))
        copies = layer.copies_for(load.counts)
        floor = layer.floor_us(load.counts, 3.0, 800.0)
        for name in rng.permutation(names):
            launch = made[name].bind(layer, load.counts, load.mean_tokens)
            samples = timer.start(launch, copies, floor)()
            pacer.rest(sum(samples) * copies)
            times[int(tokens)][str(name)] = round(summary(samples).median, 2)
    return [{"tokens": tokens, **times[tokens]} for tokens in counts]


def rates(shape: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[float, float]:
    """TFLOP/s and TB/s of weights that the Triton backend reaches."""
    width = shape["hidden"] * shape["intermediate"]
    active = min(row["tokens"], shape["experts"])
    return (
        6 * row["tokens"] * width / row["triton"] / 1e6,
        6 * active * width / row["triton"] / 1e6,
    )


def ratio(row: Mapping[str, Any]) -> float:
    """Time of Triton over that of the best other backend."""
    return float(row["triton"] / min(row["grouped_mm"], row["loop"]))


def tables(result: Mapping[str, Any]) -> str:
    """One table per shape, and the worst ratio of each."""
    best, text, worst = result["ceilings"], [], []
    head = "| tokens | Triton us | grouped_mm us | loop us | ratio | TFLOP/s | TB/s |"
    for name, shape in result["shapes"].items():
        text += [f"**{name}, {shape['experts']} experts**\n", head, "| --- " * 7 + "|"]
        for row in shape["rows"]:
            if row["tokens"] in SHOWN:
                tflops, tbps = rates(shape, row)
                text.append(
                    f"| {row['tokens']} | {row['triton']} | {row['grouped_mm']} | "
                    f"{row['loop']} | {ratio(row):.2f} | "
                    f"{tflops:.0f} ({tflops / best['tflops']:.0%}) | "
                    f"{tbps:.2f} ({tbps / best['tbps']:.0%}) |"
                )
        text.append("")
        ratios = sorted((ratio(row), row["tokens"]) for row in shape["rows"])
        missed = sum(value > 1 + ALLOWED for value, _ in ratios)
        worst.append(
            f"| {name} | {ratios[-1][0]:.2f} | {ratios[-1][1]} | {missed} of "
            f"{len(ratios)} | {np.median([value for value, _ in ratios]):.2f} |"
        )
    text += ["| shape | worst ratio | at tokens | over 1.10 | median ratio |"]
    text += ["| --- " * 5 + "|", *worst]
    ceilings = f"{best['tflops']:.0f} TFLOP/s, {best['tbps']:.2f} TB/s"
    return "\n".join([f"{result['device']['name']}: {ceilings} at best.\n", *text])


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--model", action="append")
    parser.add_argument("--tables", action="store_true")
    args = parser.parse_args()
    file = args.out / "backends.json"
    if args.tables:
        for each in sorted(args.out.glob("*backends.json")):
            print(f"{each.name}\n\n{tables(json.loads(each.read_text()))}\n")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    device = devices.find("auto")[0]
    checks, skipped = selftest.check_all(device)
    print(selftest.table_text(checks), *skipped, sep="\n", flush=True)
    result: dict[str, Any] = {
        "device": devices.describe(device, devices.clocks_of(device)),
        "ceilings": asdict(devices.measure_ceilings(device)),
        "errors": [asdict(check) for check in checks],
        "shapes": {},
    }
    for name in args.model or SHAPES:
        settings = settings_for(name)
        layer = make_layer(settings, device)
        counts = token_counts(args.points)
        rows = compare(layer, make_timer(device), backends.NAMES, counts)
        sizes = ("hidden", "intermediate", "experts")
        shape = {size: getattr(settings, size) for size in sizes}
        result["shapes"][name] = {**shape, "rows": rows}
        write_text(file, json.dumps(result, separators=(",", ":")) + "\n")
        high = max((ratio(row), row["tokens"]) for row in rows)
        print(f"{name}: worst ratio {high[0]:.3f} at {high[1]} tokens", flush=True)
        del layer
        devices.empty_cache(device)
    print(tables(result))


if __name__ == "__main__":
    main()
