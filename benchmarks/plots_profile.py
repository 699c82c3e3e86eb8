"""Draws the pictures of docs/results/profiling.md from profiles and dense curves.

``python -m benchmarks.plots_profile [FOLDER] [OUT]``: FOLDER holds what
`benchmarks/profile.py` wrote (default instances/profiles), OUT takes the pictures
(default docs/img). Needs matplotlib.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from gemopt.files.profile_file import Profile, load_profile
from gemopt_gpu_bench.fit import Samples
from gemopt_gpu_bench.fit.choose import predict

ROOT = Path(__file__).parent.parent
STAIRCASES = ("mixtral-8x7b-e2", "deepseek-v3-e16", "gpt-oss-20b-e8")
PLAN = "qwen3-30b-a3b-e16"
COLOURS = {
    "boundary": "#c0392b",
    "vector": "#2980b9",
    "sparse": "#8e44ad",
    "validation": "#27ae60",
    "trace": "#e67e22",
}


def whole_cards(folder: Path) -> list[tuple[str, Profile]]:
    """Profiles of one whole card in burst mode, by the name of their file."""
    found = []
    for path in sorted(folder.glob("*.profile.json")):
        if json.loads(path.read_text())["format"] == "gemopt-profile":
            profile = load_profile(path)
            if profile.measurement["mode"] == "burst":
                found.append((path.name.removesuffix(".profile.json"), profile))
    return found


def family(profile: Profile, name: str) -> Any:
    """Latency model of a family that a profile keeps."""
    return next(f.latency for f in profile.fits if f.validation["family"] == name)


def points(profile: Profile, *kinds: str) -> Samples:
    """Measured points of these kinds, medians of their samples."""
    found = [p for p in profile.points if p.extra["kind"] in kinds]
    return Samples(
        np.array([p.counts for p in found], np.int64),
        np.array([p.extra["mean_tokens"] for p in found]),
        np.array([np.median(p.samples_us) for p in found]),
    )


def staircases(folder: Path, profiles: Sequence[tuple[str, Profile]]) -> Any:
    """Dense points, sampled ones, and the curve rebuilt from these."""
    chosen = [(n, p) for s in STAIRCASES for n, p in profiles if n.endswith(s)]
    figure, axes = plt.subplots(1, len(chosen), figsize=(4.4 * len(chosen), 3.4))
    for axis, (name, profile) in zip(np.atleast_1d(axes), chosen, strict=True):
        document = json.loads((folder / f"{name}.dense.json").read_text())
        dense = sorted((int(t), us) for t, us in document["us_by_tokens"].items())
        tokens, us = np.array(dense).T
        sampled = points(profile, "boundary")
        axis.plot(tokens, us, ".", ms=2.5, color="#95a5a6", label="dense")
        every = np.arange(1, int(tokens[-1]) + 1)
        curve = family(profile, "curve_staircase")
        axis.plot(every, curve.at(every), lw=0.9, color="#2980b9", label="rebuilt")
        label = f"sampled ({len(sampled)})"
        at = sampled.counts.sum(axis=1)
        axis.plot(at, sampled.us, "o", ms=4, color="#c0392b", label=label)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("tokens on the GPU")
        axis.set_ylim(0)
    np.atleast_1d(axes)[0].set_ylabel("us")
    np.atleast_1d(axes)[0].legend(fontsize=8)
    return figure


def model_errors(profiles: Sequence[tuple[str, Profile]]) -> Any:
    """Error of each family on vectors that no fit has seen."""
    figure, axis = plt.subplots(figsize=(8, 3.4))
    names = ("curve_linear", "tile_active", "roofline")
    kinds = (("mape", ""), ("trace_mape", "//"))
    width = 0.8 / (len(names) * len(kinds))
    for i, name in enumerate(names):
        for j, (key, hatch) in enumerate(kinds):
            values = [
                100 * next(
                    f.validation[key]
                    for f in profile.fits
                    if f.validation["family"] == name
                )
                for _, profile in profiles
            ]  # fmt: skip
            place = np.arange(len(profiles)) + (i * len(kinds) + j) * width
            label = f"{name}, {'trace-like' if j else 'validation'}"
            axis.bar(place, values, width, hatch=hatch, color=f"C{i}", label=label)
    for target in (1.5, 3.0):
        axis.axhline(target, color="k", lw=0.6, ls=":")
    axis.set_yscale("log")
    axis.set_ylabel("mean error, %")
    axis.set_xticks(np.arange(len(profiles)) + 0.4 - width / 2)
    axis.set_xticklabels([name for name, _ in profiles], rotation=20, fontsize=7)
    axis.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def sampling_plan(profile: Profile) -> Any:
    """Where the points of one profile lie, and what the chosen model makes of them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    total = profile.shape["total_experts"]
    for kind, colour in COLOURS.items():
        found = points(profile, kind)
        active = (found.counts > 0).sum(axis=1)
        jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(found))
        tokens = found.counts.sum(axis=1)
        style = {"ms": 3.5, "color": colour, "alpha": 0.7}
        left.plot(tokens, active + jitter, ".", label=f"{kind} ({len(found)})", **style)
        if kind in ("validation", "trace"):
            predicted = predict(profile.latency, found, total)
            error = 100 * (predicted / found.us - 1.0)
            right.plot(found.us, error, ".", label=kind, **style)
    left.set_xscale("log")
    left.set_xlabel("tokens on the GPU")
    left.set_ylabel("active experts")
    left.legend(fontsize=7)
    right.axhline(0, color="k", lw=0.5)
    right.set_xlabel("measured us")
    right.set_ylabel("predicted - measured, %")
    right.legend(fontsize=7)
    return figure


def main(folder: Path, out: Path) -> None:
    """Draw all pictures of the profiles of the H100."""
    plt.switch_backend("agg")
    cards = [(n, p) for n, p in whole_cards(folder) if p.name.startswith("H100")]
    if not cards:
        raise SystemExit(f"{folder}: no profile of a whole H100 in burst mode")
    plan = next(profile for name, profile in cards if name.endswith(PLAN))
    pictures = {
        "profile_staircase.png": staircases(folder, cards),
        "profile_errors.png": model_errors(cards),
        "profile_plan.png": sampling_plan(plan),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        figure.tight_layout()
        figure.savefig(out / name, dpi=90, metadata={"Software": None})
        print(out / name)


if __name__ == "__main__":
    given = [Path(text) for text in sys.argv[1:]]
    defaults = [ROOT / "instances" / "profiles", ROOT / "docs" / "img"]
    main(*[*given, *defaults[len(given) :]][:2])
