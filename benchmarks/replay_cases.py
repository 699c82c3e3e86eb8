"""Cases of benchmarks/replay.py: solved on seen steps, with what unseen ones ask."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemopt_gpu_bench.replay.plan import ReplayPlan, make_plan

TRACE = Path(__file__).parent.parent / "instances" / "measured" / "moe_lm_trace.npz"
FIRST_STEP = 16  # earlier positions see little context
SMS = (132, 120, 104, 88)
SHAPES = ("Hunyuan-A13B", "Qwen3-30B-A3B", "DeepSeek-V3")  # 16 experts a GPU
LAYERS, DECODE_LAYER = (1, 4, 7), 4
GPT_OSS, GPT_OSS_LAYERS = "gpt-oss-20b", (3, 12, 21)
POSITIONS = {"small": 40, GPT_OSS: 160}  # of a prefill step: 2560 tokens
GPT_OSS_RUNNING = 16  # requests of a step
#: Steps overlap: a new one starts after this share of another one. A quarter served
#: `search` best on other layers, judged on the seen half alone.
SEEN_EVERY, UNSEEN_EVERY = 1 / 4, 1 / 2
DECODE_STEPS = 12
SOLVERS = ("linear", "lpt", "eplb", "gem", "search")
CHECKS = 8  # points of each profile that are measured again


@dataclass(frozen=True)
class Case:
    """One layer of one shape, and the steps that are replayed on it."""

    name: str
    model: str
    hidden: int
    intermediate: int
    layer: int
    phase: str
    backend: str
    tiles: list[dict[str, Any]]
    mode: str
    sms: tuple[int, ...]
    card: str
    seen_us: dict[str, float]
    solve_seconds: dict[str, float]
    checks: list[dict[str, Any]]


def windows(counts: np.ndarray, width: int, every: float) -> np.ndarray:
    """Sums of `width` steps of counts ``[steps, ...]``, one each ``every * width``."""
    ends = np.concatenate([np.zeros_like(counts[:1]), counts.cumsum(axis=0)])
    starts = np.arange(0, len(counts) - width + 1, round(every * width))
    return ends[starts + width] - ends[starts]


def small_model_steps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Seen and unseen counts ``[steps, layers, experts]`` of each phase."""
    with np.load(TRACE, allow_pickle=False) as file:
        counts = file["counts"].astype(np.int64).transpose(1, 0, 2)[FIRST_STEP:]
    seen, unseen = np.split(counts, 2)
    spread = np.linspace(0, len(unseen) - 1, DECODE_STEPS).round().astype(int)
    return {
        "prefill": (
            windows(seen, POSITIONS["small"], SEEN_EVERY),
            windows(unseen, POSITIONS["small"], UNSEEN_EVERY),
        ),
        "decode": (seen, unseen[spread]),
    }


def gpt_oss_steps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seen and unseen prefill counts of disjoint requests ``[steps, layers, 32]``."""
    from gemopt.traffic import split_requests
    from gemopt.traffic.serving import serving_steps

    with np.load(path, allow_pickle=False) as file:
        ids, offsets = file["expert_ids"], file["request_offsets"]
    seen, unseen = (
        serving_steps(
            ids, offsets, GPT_OSS_RUNNING, experts=32, requests=requests, seed=0
        )
        for requests in split_requests(len(offsets) - 1, seed=0)
    )
    width = POSITIONS[GPT_OSS]
    return windows(seen, width, SEEN_EVERY), windows(unseen, width, UNSEEN_EVERY)


def find_profiles(folder: Path, model: str) -> list[Any]:
    """Profile of each of `SMS` for a model's shape, from the one file that has all."""
    from gemopt.files.profile_set import load_profiles

    found = []
    for path in sorted(folder.glob(f"*{model.lower()}*.profile.json")):
        profiles = {
            profile.device.get("multiprocessors_granted"): profile
            for profile in load_profiles(path)
            if profile.backend["name"] == "triton"
        }
        if set(SMS) <= set(profiles):
            found.append([profiles[sms] for sms in SMS])
    if len(found) != 1:
        raise ValueError(
            f"{folder}: {len(found)} files with profiles of {model} on {SMS} SMs; "
            "needs one"
        )
    return found[0]


def scaled(profile: Any, experts: int) -> Any:
    """Latency model of a profile for a layer of `experts` experts.

    Kernels are chosen by the mean tokens per expert, and models by the step's tokens.
    """
    from gemopt.latency import Regimes

    factor = experts / profile.shape["total_experts"]
    if not isinstance(profile.latency, Regimes):
        return profile.latency
    return Regimes((limit * factor, part) for limit, part in profile.latency.parts)


def checks(profiles: list[Any], mean: float) -> list[dict[str, Any]]:
    """Points of each profile, those nearest to the mean tokens that are replayed."""
    chosen = []
    for gpu, profile in enumerate(profiles):
        points = [p for p in profile.points if p.extra.get("kind") == "trace"]
        points.sort(key=lambda p: abs(np.log(p.extra["mean_tokens"] / mean)))
        chosen += [
            {
                "gpu": gpu,
                "mean_tokens": point.extra["mean_tokens"],
                "counts": list(point.counts),
                "us": float(np.median(point.samples_us)),
            }
            for point in points[:CHECKS]
        ]
    return chosen


def prepare_one(
    model: str,
    layer: int,
    phase: str,
    steps: tuple[np.ndarray, np.ndarray],
    profiles: list[Any],
    out: Path,
) -> None:
    """Solve one layer on its seen steps and write its case."""
    import gemopt

    seen, unseen = (
        gemopt.Instance.from_arrays(
            part[:, [layer]],
            [scaled(profile, part.shape[2]) for profile in profiles],
            gpu_names=[f"{sms} SMs" for sms in SMS],
            layer_ids=[layer],
        )
        for part in steps
    )
    placements, seen_us, seconds = {}, {}, {}
    for name in SOLVERS:
        result = gemopt.solve(seen, name, seed=0, trace=False)
        assert result.placement is not None
        placements[name] = result.placement
        seen_us[name] = result.objective / seen.num_steps
        seconds[name] = round(result.seconds, 3)
    plan = make_plan(unseen, placements)
    first = profiles[0]
    case = Case(
        name=f"{model.lower()}-layer{layer}-{phase}",
        model=model,
        hidden=first.shape["hidden"],
        intermediate=first.shape["intermediate"],
        layer=layer,
        phase=phase,
        backend=first.backend["name"],
        tiles=first.backend["tiles"],
        mode=first.measurement["mode"],
        sms=SMS,
        card=str(first.device.get("uuid_sha256")),
        seen_us=seen_us,
        solve_seconds=seconds,
        checks=checks(profiles, float(plan.mean_tokens.mean())),
    )
    plan.save(out / f"{case.name}.npz")
    (out / f"{case.name}.json").write_text(json.dumps(asdict(case)) + "\n")
    best = plan.predicted_us.max(axis=3).sum(axis=(1, 2))
    gains = ", ".join(
        f"{name} {100 * (1 - us / best[0]):+.1f} %"
        for name, us in zip(plan.names, best, strict=True)
    )
    print(f"{case.name}: {seen.num_steps} seen, {unseen.num_steps} unseen; {gains}")


def prepare(cases: Path, profiles: Path, tokens: Path | None) -> None:
    """Write the cases of the small model's routing, or of the token ids `tokens`."""
    cases.mkdir(parents=True, exist_ok=True)
    if tokens is not None:
        steps = gpt_oss_steps(tokens)
        jobs = [(GPT_OSS, layer, "prefill", steps) for layer in GPT_OSS_LAYERS]
    else:
        phases = small_model_steps()
        jobs = [
            (model, layer, "prefill", phases["prefill"])
            for layer in LAYERS
            for model in SHAPES
        ]
        jobs += [(model, DECODE_LAYER, "decode", phases["decode"]) for model in SHAPES]
    for model, layer, phase, steps in jobs:
        prepare_one(model, layer, phase, steps, find_profiles(profiles, model), cases)
    names = [f"{model.lower()}-layer{layer}-{phase}" for model, layer, phase, _ in jobs]
    (cases / "order.json").write_text(json.dumps(names) + "\n")


def read_cases(folder: Path) -> Iterator[tuple[Case, ReplayPlan]]:
    """Cases in the order in which they are measured."""
    for name in json.loads((folder / "order.json").read_text()):
        data = json.loads((folder / f"{name}.json").read_text())
        data["sms"] = tuple(data["sms"])
        yield Case(**data), ReplayPlan.load(folder / f"{name}.npz")
