"""Profiles the seven shapes on the first GPU and compares sampled with dense curves.

``python benchmarks/profile.py OUT_FOLDER [--dense 768] [--sm 132,120] [--model NAME]``
writes one ``.profile.json`` per shape and limit, and the dense curves as JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from gemopt.io.profile_file import save_profile
from gemopt.traffic.shapes import SHAPES
from gpu_bench import devices
from gpu_bench.compare import own_spread
from gpu_bench.document import to_profile
from gpu_bench.fit.token_curve import curve
from gpu_bench.layer import ExpertLayer
from gpu_bench.profile import Outcome, curves, make_layer, profile
from gpu_bench.sampling import balanced
from gpu_bench.settings import Settings, settings_for
from gpu_bench.stats import errors, summary

ROOT = Path(__file__).parent.parent
TRACE = ROOT / "instances" / "measured" / "moe_lm_trace.npz"
FIRST_STEP = 16  # earlier positions see little context


def routing() -> Any:
    """Counts ``[steps, layers, experts]`` of the committed trace."""
    with np.load(TRACE, allow_pickle=False) as file:
        return file["counts"].astype(np.int64).transpose(1, 0, 2)[FIRST_STEP:]


def dense_curve(outcome: Outcome, count: int) -> dict[int, list[float]]:
    """Time `count` token counts, half evenly and half log-spaced, in random order."""
    top = outcome.run.settings.max_tokens
    even = np.linspace(1, top, count // 2).astype(int)
    marks = np.unique([*even, *np.geomspace(1, top, 3 * count // 4).astype(int)])
    marks = outcome.run.rng.permutation(marks)[:count]
    session, experts = outcome.run.session, outcome.run.settings.experts
    points = [session.measure(balanced("dense", experts, int(t)), 3) for t in marks]
    return {p.load.tokens: [round(p.us, 2)] for p in points if p.samples_us}


def judge(outcome: Outcome, dense: dict[int, list[float]]) -> dict[str, Any]:
    """Errors of the sampled curves, and of a geometric grid of as many points."""
    tokens = np.array(sorted(dense))
    us = np.array([summary(dense[int(t)]).median for t in tokens])
    models = dict(curves(outcome.run))
    known = [p for p in outcome.run.points if p.load.kind == "boundary"]
    grid = np.unique(np.geomspace(1, tokens[-1], len(known)).astype(int))
    nearest = [int(tokens[np.abs(tokens - t).argmin()]) for t in grid]
    at_grid = [summary(dense[t]).median for t in nearest]
    models["geometric grid"] = curve(nearest, at_grid, "linear")
    row: dict[str, Any] = {"boundary_points": len(known), "dense_points": len(tokens)}
    for name, model in models.items():
        found = errors(model.at(tokens), us)  # type: ignore[attr-defined]
        row[name] = [round(found.mape, 5), round(found.p95, 5)]
    return row


def one(
    settings: Settings,
    layer: ExpertLayer,
    limit: int,
    ceilings: devices.Ceilings,
    out: Path,
    dense: int,
) -> None:
    """Profile one shape at one limit, write it, print a line."""
    device = layer.x.device
    outcome = profile(settings, device, layer=layer, sm_limit=limit, trace=routing())
    document = to_profile(outcome, ceilings)
    name = f"{document.name}-{settings.model}-e{settings.experts}".lower()
    save_profile(document, out / f"{name}.profile.json")
    best = outcome.fits[0]
    tile = next(f for f in outcome.fits if f.family == "tile_active")
    trace_mape = best.trace.mape if best.trace else float("nan")
    print(
        f"{name:36s} {outcome.seconds:5.1f} s {len(outcome.run.points):4d} points "
        f"{best.family} val {best.validation.mape:.2%} p95 {best.validation.p95:.2%} "
        f"trace {trace_mape:.2%} | tile_active {tile.validation.mape:.2%} "
        f"own {own_spread(document):.2%} throttled "
        f"{document.measurement['throttled_points']} {outcome.missed}",
        flush=True,
    )
    if dense:
        began = time.perf_counter()
        points = dense_curve(outcome, dense)
        row = judge(outcome, points)
        row["seconds"] = round(time.perf_counter() - began, 1)
        body = {"summary": row, "us_by_tokens": points}
        (out / f"{name}.dense.json").write_text(json.dumps(body))
        print("   dense", row, flush=True)


def main() -> None:
    """Run the profiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dense", type=int, default=0)
    parser.add_argument("--sm", default="")
    parser.add_argument("--model", action="append")
    parser.add_argument("--backend", default="triton")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = devices.find("auto")[0]
    ceilings = devices.measure_ceilings(device)
    full = devices.multiprocessors(device)
    limits = [int(n) for n in args.sm.split(",")] if args.sm else [full]
    print(ceilings)
    for name in args.model or SHAPES:
        settings = settings_for(name, backend=args.backend)
        torch.accelerator.empty_cache()
        layer = make_layer(settings, device)
        for limit in limits:
            dense = args.dense if limit == full else 0
            one(settings, layer, limit, ceilings, args.out, dense)
        del layer


if __name__ == "__main__":
    main()
