"""Profiles the seven shapes on one GPU and compares sampled with dense curves.

``python -m benchmarks.profile OUT [--dense 768] [--sm 132,120] [--model NAME]`` needs
numpy, scipy, torch and pydantic (Triton on a GPU). It writes, as it goes, one
``.profile.json`` per shape (of all its limits), the dense curves as ``.dense.json``,
and ``summary.json``, of which it prints tables. ``--tables OUT`` prints them again.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gemopt.files.atomic import write_text
from gemopt.files.profile_set import save_profiles
from gemopt.traffic.shapes import SHAPES
from gemopt_gpu_bench import backends
from gemopt_gpu_bench.fit.token_curve import curve
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import BOUNDARY_POINTS, balanced
from gemopt_gpu_bench.profile.document import to_profile
from gemopt_gpu_bench.profile.profile import GpuProfile, curves, make_layer, profile
from gemopt_gpu_bench.profile.settings import (
    TRIAL_TOKENS,
    Settings,
    settings_for,
    trial,
)
from gemopt_gpu_bench.stats import errors

ROOT = Path(__file__).parent.parent
TRACE = ROOT / "instances" / "measured" / "moe_lm_trace.npz"
FIRST_STEP = 16  # earlier positions see little context
DENSE_SAMPLES = 3
CURVES = {
    "staircase": "curve_staircase",
    "lines": "curve_linear",
    "steps": "curve_step",
    "geometric grid": "geometric grid",
}


def routing() -> Any:
    """Counts ``[steps, layers, experts]`` of the committed trace."""
    with np.load(TRACE, allow_pickle=False) as file:
        return file["counts"].astype(np.int64).transpose(1, 0, 2)[FIRST_STEP:]


def dense_curve(outcome: GpuProfile, count: int) -> dict[int, float]:
    """Time `count` token counts, half evenly and half log-spaced, in random order."""
    top, rng = outcome.run.settings.max_tokens, np.random.default_rng(1)
    marks = set(np.linspace(1, top, count // 2).astype(int).tolist())
    spaced = np.unique(np.geomspace(1, top, 3 * count).astype(int))
    for mark in rng.permutation(spaced):
        if len(marks) < min(count, top):
            marks.add(int(mark))
    session, experts = outcome.run.session, outcome.run.settings.experts
    order = rng.permutation(sorted(marks)).tolist()
    loads = [balanced("dense", experts, t) for t in order]
    points = [session.measure(load, DENSE_SAMPLES) for load in loads]
    return {p.load.tokens: round(p.us, 2) for p in points if p.samples_us}


def judge(outcome: GpuProfile, dense: dict[int, float]) -> dict[str, Any]:
    """Errors of the sampled curves, and of a geometric grid of as many points."""
    tokens = np.array(sorted(dense))
    us = np.array([dense[int(t)] for t in tokens])
    known = [p for p in outcome.run.points if p.load.kind == "boundary"]
    models = dict(curves(outcome.run))
    grid = np.geomspace(1, tokens[-1], min(len(known), BOUNDARY_POINTS))
    nearest = sorted({int(tokens[np.abs(tokens - t).argmin()]) for t in grid})
    models["geometric grid"] = curve(nearest, [dense[t] for t in nearest], "linear")
    row: dict[str, Any] = {"sampled": len(known), "dense": len(tokens)}
    for name, model in models.items():
        found = errors(model.at(tokens), us)  # type: ignore[attr-defined]
        row[name] = {"mape": round(found.mape, 5), "p95": round(found.p95, 5)}
    return row


def profiled(outcome: GpuProfile) -> dict[str, Any]:
    """Cost and accuracy of one profile."""
    best, run = outcome.fits[0], outcome.run
    return {
        "multiprocessors": run.sms,
        "seconds": round(outcome.seconds, 1),
        "points": len(run.points),
        "family": best.family,
        "mape": round(best.validation.mape, 5),
        "p95": round(best.validation.p95, 5),
        "trace_mape": round(best.trace.mape, 5) if best.trace else None,
        "mape_by_family": {f.family: round(f.validation.mape, 5) for f in outcome.fits},
        "missed": outcome.missed,
    }


def measure_shape(
    settings: Settings, layer: ExpertLayer, args: argparse.Namespace, best: Any
) -> dict[str, Any]:
    """Profile one shape at every limit, write its files, return its summary."""
    outcomes, documents, dense = [], [], None
    path = args.out / f"{stem(settings, args)}.profile.json"
    began = time.perf_counter()
    for limit in args.sm or [None]:
        outcome = profile(
            settings,
            layer.x.device,
            layer=layer,
            sm_limit=limit,
            trace=routing(),
        )
        outcomes.append(profiled(outcome))
        documents.append(to_profile(outcome, best))
        save_profiles(documents, path)  # now, lest a later limit fail
        print(settings.model, json.dumps(outcomes[-1]), flush=True)
        if args.dense and dense is None:
            start = time.perf_counter()
            points = dense_curve(outcome, args.dense)
            dense = judge(outcome, points)
            dense["seconds"] = round(time.perf_counter() - start, 1)
            print(settings.model, json.dumps(dense), flush=True)
            body = {"summary": dense, "us_by_tokens": points}
            write_text(args.out / f"{stem(settings, args)}.dense.json", compact(body))
    return {
        "model": settings.model,
        "experts": settings.experts,
        "device": documents[0].device["name"],
        "file_bytes": path.stat().st_size,
        "profiles": outcomes,
        "dense": dense,
        "wall_seconds": round(time.perf_counter() - began, 1),
    }


def stem(settings: Settings, args: argparse.Namespace) -> str:
    """Name of a shape's files."""
    card = devices.card_name(args.device)
    parts = [card, settings.model.replace("/", "_"), f"e{settings.experts}"]
    if args.sm:
        parts.append("sm" + "_".join(map(str, args.sm)))
    if args.mode != "burst":
        parts.append(args.mode)
    return "-".join(parts).lower()


def compact(body: dict[str, Any]) -> str:
    """JSON on one line."""
    return json.dumps(body, separators=(",", ":")) + "\n"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out in markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float | None) -> str:
    """Format a ratio with two digits."""
    return "-" if value is None else f"{100 * value:.2f} %"


def tables(summary: Sequence[dict[str, Any]]) -> str:
    """Tables of cost and accuracy, and of dense against sampled curves."""
    cost = [
        [
            f"{each['model']} e{each['experts']}",
            str(run["multiprocessors"]),
            f"{run['seconds']:.1f}",
            str(run["points"]),
            run["family"],
            percent(run["mape"]),
            percent(run["p95"]),
            percent(run["trace_mape"]),
        ]
        for each in summary
        for run in each["profiles"]
    ]
    total = sum(run["seconds"] for each in summary for run in each["profiles"])
    header = ("shape", "SMs", "s", "points", "model", "MAPE", "p95", "trace-like")
    text = [markdown(header, cost), f"\nAll profiles together: {total:.0f} s.\n"]
    rows = [
        [
            f"{each['model']} e{each['experts']}",
            str(each["dense"]["sampled"]),
            str(each["dense"]["dense"]),
            *(_mean_p95(each["dense"].get(key)) for key in CURVES.values()),
        ]
        for each in summary
        if each["dense"]
    ]
    if rows:
        text.append(markdown(("shape", "sampled", "dense", *CURVES), rows))
    return "\n".join(text)


def _mean_p95(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{100 * found['mape']:.2f} / {100 * found['p95']:.1f} %"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dense", type=int, default=0, help="token counts")
    parser.add_argument("--sm", type=lambda s: [int(n) for n in s.split(",")])
    parser.add_argument("--model", action="append")
    parser.add_argument("--backend")
    parser.add_argument("--mode", default="burst")
    parser.add_argument("--vectors", type=int, help="most vectors to fit")
    parser.add_argument("--device", default="auto", help="cpu for a trial")
    parser.add_argument("--tables", action="store_true", help="print tables of OUT")
    return parser.parse_args()


def main() -> None:
    """Run the profiles."""
    args = parse()
    summary_file = args.out / "summary.json"
    if args.tables:
        for file in sorted(args.out.glob("*summary.json")):
            print(f"{file.name}\n\n{tables(json.loads(file.read_text()))}\n")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    args.device = device = devices.find(args.device)[0]
    best = devices.measure_ceilings(device)
    print(best, devices.describe(device, devices.clocks_of(device)), flush=True)
    summary: list[dict[str, Any]] = []
    failed: list[str] = []
    layer: ExpertLayer | None = None
    for name in args.model or SHAPES:
        settings = settings_for(
            name,
            backend=args.backend or backends.default(device.type),
            mode=args.mode,
            max_tokens=TRIAL_TOKENS if device.type == "cpu" else 8192,
        )
        if args.vectors:
            settings = replace(settings, most_vectors=args.vectors)
        if device.type == "cpu":
            settings = trial(settings)
        try:
            layer = make_layer(settings, device)
            summary.append(measure_shape(settings, layer, args, best))
        except Exception:  # the other shapes are worth having
            traceback.print_exc()
            failed.append(name)
        write_text(summary_file, compact_list(summary))
        layer = None
        devices.empty_cache(device)
    print(tables(summary))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def compact_list(summary: Sequence[dict[str, Any]]) -> str:
    """JSON with a line for each shape."""
    lines = ",\n".join(compact(each).rstrip() for each in summary)
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    main()
