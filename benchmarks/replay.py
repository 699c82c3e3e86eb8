"""Placements on real hardware: one card as four GPUs of 132, 120, 104 and 88 SMs.

1. ``python -m benchmarks.profile FOLDER --sm 132,120,104,88`` on the card.
2. ``python -m benchmarks.replay prepare CASES --profiles FOLDER`` anywhere: builds the
   instances, solves them on the seen steps, writes what unseen ones ask of each GPU.
3. ``python -m benchmarks.replay measure CASES RESULTS.jsonl`` on the card: numpy, torch
   and Triton suffice. Adds a line for each case and goes on where it was cut.
4. ``python -m benchmarks.replay report RESULTS.jsonl...`` prints the tables of
   docs/results/replay.md.

Prefill steps are 2560 tokens: 40 positions of 64 texts, summed. No position is in both
a seen and an unseen step. ``prepare --tokens FILE``, with per-token expert ids of
gpt-oss-20b, prepares its shape instead: 160 positions of 16 requests, other requests
unseen.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replay_cases import SMS, Case, prepare, read_cases
from gemopt_gpu_bench.replay.result import ReplayResult

FINDERS, RIVALS = ("gem", "search"), ("linear", "lpt", "eplb")
REPEATS = 5


def read_results(path: Path) -> list[tuple[dict[str, Any], ReplayResult]]:
    """Records and results of a file; none where there is no file."""
    if not path.exists():
        return []
    documents = map(json.loads, path.read_text().splitlines())
    return [(data["record"], ReplayResult.from_json(data)) for data in documents]


def check_ratios(case: Case, sessions: list[Any]) -> list[float]:
    """For each GPU, this session's latencies over those of its profile: median."""
    from gemopt_gpu_bench.measure.sampling import Load

    ratios: list[list[float]] = [[] for _ in sessions]
    for check in case.checks:
        load = Load("check", check["mean_tokens"], tuple(check["counts"]))
        us = sessions[check["gpu"]].measure(load).us
        ratios[check["gpu"]].append(us / check["us"])
    return [round(float(np.median(each)), 4) for each in ratios]


def measure(args: argparse.Namespace) -> None:
    """Replay every case that has no result yet, while time lasts."""
    from gemopt_gpu_bench.backends.tiles import TileTable
    from gemopt_gpu_bench.hosts import devices
    from gemopt_gpu_bench.replay.run import (
        ReplaySettings,
        assign,
        make_sessions,
        replay,
    )

    began = time.perf_counter()
    done = {record["case"]["name"] for record, _ in read_results(args.results)}
    found = devices.find(args.device)  # several cards share the GPUs of a case
    cases = list(read_cases(args.cases))
    limits = None if found[0].type == "cpu" else SMS
    sessions: dict[str, list[Any]] = {}
    longest: dict[str, float] = {}
    for case, plan in cases:
        spent = time.perf_counter() - began
        if case.name in done or spent + longest.get(case.model, 0.0) > args.seconds:
            print(f"{case.name}: {'done before' if case.name in done else 'no time'}")
            continue
        start = time.perf_counter()
        if case.model not in sessions:
            backend = "loop" if limits is None else case.backend  # a trial on the CPU
            settings = ReplaySettings(
                case.hidden,
                case.intermediate,
                backend,
                case.mode,
                table=TileTable.from_json(case.tiles),
            )
            most = max(p.max_tokens for c, p in cases if c.model == case.model)
            room = max(most, *(sum(c["counts"]) for c in case.checks))
            gpus = assign(found, plan.num_gpus)
            sessions[case.model] = make_sessions(
                settings, gpus, plan.slots, room, limits
            )
        mine = sessions[case.model]
        before = check_ratios(case, mine)
        result = replay(plan, mine, repeats=args.repeats)
        record = {
            "case": {
                k: v for k, v in asdict(case).items() if k not in ("checks", "tiles")
            },
            "device": devices.describe(found[0], mine[0].clocks),
            "over_profile_before": before,
            "over_profile_after": check_ratios(case, mine),
            "seconds": round(time.perf_counter() - start, 1),
        }
        with args.results.open("a") as file:
            file.write(json.dumps({**result.to_json(), "record": record}) + "\n")
        longest[case.model] = time.perf_counter() - start
        errors = " ".join(
            f"{name} {100 * result.error(i):+.2f}%"
            for i, name in enumerate(result.names)
        )
        print(
            f"{case.name}: {record['seconds']} s; over profile {before}; {errors}",
            flush=True,
        )


def print_rows(header: list[str], rows: list[list[str]]) -> None:
    """Print a table of Markdown."""
    for line in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(line) + " |")
    print()


def times(result: ReplayResult, seen_us: dict[str, float]) -> list[str]:
    """Measured us a step, error of the prediction, predicted us of a seen step."""
    steps = result.us.shape[2]
    return [
        f"{result.measured(i).mean / steps:.1f} ({100 * result.error(i):+.2f} %; "
        f"{seen_us[name]:.1f})"
        for i, name in enumerate(result.names)
    ]


def gain(result: ReplayResult, name: str, rival: str) -> str:
    """What a placement saves: measured with both intervals, and predicted, in %."""
    found = result.gain(result.names.index(name), result.names.index(rival))
    mean, low, _ = (100 * x for x in vars(found.repeats).values())
    _, less, more = (100 * x for x in vars(found.steps).values())
    return (
        f"{mean:+.1f} ± {mean - low:.1f} (steps {less:+.1f} .. {more:+.1f}; "
        f"predicted {100 * found.predicted:+.1f})"
    )


def report(args: argparse.Namespace) -> None:
    """Print what was measured, how far off predictions are, and what is gained."""
    read = [each for path in args.results for each in read_results(path)]
    if not read:
        raise SystemExit(f"{args.results[0]}: no results; run `measure` first")
    read.sort(key=lambda pair: pair[0]["case"]["phase"] == "decode")
    where = [
        [r["case"]["model"], str(r["case"]["layer"]), r["case"]["phase"]]
        for r, _ in read
    ]
    head, names = ["shape", "layer", "phase"], read[0][1].names
    print_rows(
        [*head, *names],
        [
            [*w, *times(result, record["case"]["seen_us"])]
            for w, (record, result) in zip(where, read, strict=True)
        ],
    )
    for name in FINDERS:
        print_rows(
            [*head, *(f"{name} over {rival}, %" for rival in RIVALS)],
            [
                [*w, *(gain(result, name, rival) for rival in RIVALS)]
                for w, (_, result) in zip(where, read, strict=True)
            ],
        )
    misses = 100 * np.array([[r.error(i) for i in range(len(names))] for _, r in read])
    loads = [100 * result.load_mape() for _, result in read]
    print(
        f"{misses.size} placements: mean absolute error {abs(misses).mean():.2f} %, "
        f"largest {abs(misses).max():.2f} %, {(abs(misses) <= 3).sum()} within 3 %; "
        f"single loads {min(loads):.2f} to {max(loads):.2f} %"
    )
    for record, result in read:
        same = record["device"].get("uuid_sha256") == record["case"]["card"]
        print(
            f"{record['case']['name']}: {record['seconds']} s; over the profile "
            f"{record['over_profile_before']} before, {record['over_profile_after']} "
            f"after; throttled {100 * result.throttled:.1f} %; same card: {same}"
        )


def main() -> None:
    """Run one of the three parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    first = parts.add_parser("prepare")
    first.add_argument("cases", type=Path)
    first.add_argument("--profiles", type=Path, required=True)
    first.add_argument("--tokens", type=Path)
    first.set_defaults(run=lambda args: prepare(args.cases, args.profiles, args.tokens))
    second = parts.add_parser("measure")
    second.add_argument("cases", type=Path)
    second.add_argument("results", type=Path)
    second.add_argument("--seconds", type=float, default=480.0)
    second.add_argument("--repeats", type=int, default=REPEATS)
    second.add_argument("--device", default="auto")
    second.set_defaults(run=measure)
    third = parts.add_parser("report")
    third.add_argument("results", type=Path, nargs="+")
    third.set_defaults(run=report)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
