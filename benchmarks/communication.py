"""Communication on real token ids: estimate error, traffic saved, total step time.

`python -m benchmarks.communication --tokens FOLDER [--json FILE]` with a folder of
`.npz` files of per-token routing (`expert_ids`, `request_offsets`), such as the public
gpt-oss-20b ones. Seen and unseen steps come from disjoint requests. With `--small`
instead: synthetic layers that `cpsat` proves, and how far others are from the optimum.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import gemopt
from gemopt.cost.traffic import traffic
from gemopt.latency import TileActive
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.traffic import draw_tokens, serving_tokens, split_requests

EXPERTS, HIDDEN, SUM = 32, 2880, 4
#: A prefill-like layer of gpt-oss-20b: weight reads, tiles, tokens.
LATENCY = TileActive(20.0, 6.0, 1.0, 0.10, tile=64)
TOPOLOGIES = {
    "2x4 400g-hosts": ("400g-hosts", 2, 4),
    "4x4 400g-hosts": ("400g-hosts", 4, 4),
    "2x4 pcie-box": ("pcie-box", 2, 4),
}
Solve = Callable[[Instance], Placement]


def instances(
    file: Path, links: str, hosts: int, gpus: int, seed: int, batch: int = 128
) -> tuple[Instance, Instance]:
    """Seen and unseen steps of disjoint requests on the same GPUs."""
    data = np.load(file, allow_pickle=False)
    offsets = data["request_offsets"]
    pair = []
    for part in split_requests(len(offsets) - 1, seed=seed):
        tokens = serving_tokens(
            data["expert_ids"],
            offsets,
            batch,
            experts=EXPERTS,
            requests=part,
            steps=256,
            seed=seed,
        ).summed(SUM)
        comm = Communication.from_routing(
            tokens, gemopt.topology(links), num_experts=EXPERTS, hidden=HIDDEN
        )
        pair.append(
            Instance.from_arrays(
                tokens.counts(EXPERTS),
                [LATENCY] * (hosts * gpus),
                node=np.repeat(np.arange(hosts), gpus),
                comm=comm,
            )
        )
    return pair[0], pair[1]


def load_only(instance: Instance) -> Instance:
    """The same instance without communication."""
    return Instance.from_arrays(
        instance.counts,
        instance.latency,
        slots=instance.slots,
        node=instance.node,
        weights=instance.weights,
    )


def answer(instance: Instance, solver: str, **params: Any) -> Placement:
    """Placement of a solver."""
    placement = gemopt.solve(instance, solver, params=params or None).placement
    assert placement is not None
    return placement


#: Methods of the literature that place by load do not see the communication.
METHODS: dict[str, Solve] = {
    "linear": lambda i: answer(i, "linear"),
    "eplb": lambda i: answer(load_only(i), "eplb"),
    "lpt": lambda i: answer(load_only(i), "lpt"),
    "gem": lambda i: answer(load_only(i), "gem"),
    "search (load only)": lambda i: answer(load_only(i), "search"),
    "grace": lambda i: answer(i, "grace"),
    "cluster": lambda i: answer(i, "cluster"),
    "moetuner": lambda i: answer(i, "moetuner"),
    "search": lambda i: answer(i, "search"),
}
SMALL = ("eplb", "lpt", "gem", "grace", "cluster", "moetuner", "search")


def small_layer(seed: int) -> Instance:
    """Eight experts in four groups, two of them a token, on two hosts of two GPUs."""
    tokens = draw_tokens(
        3, 1, 8, tokens=96, top_k=3, n_group=4, topk_group=2, seed=seed
    )
    comm = Communication.from_routing(
        tokens, gemopt.topology("400g-hosts-flat"), num_experts=8, hidden=HIDDEN
    )
    return Instance.from_arrays(
        tokens.counts(8), [LATENCY] * 4, node=[0, 0, 1, 1], comm=comm
    )


def against_optimum(seeds: int, seconds: float) -> None:
    """Print how far each method is above the optimum that `cpsat` proves."""
    gaps: dict[str, list[float]] = {name: [] for name in SMALL}
    proven = 0
    for seed in range(100, 100 + seeds):
        instance = small_layer(seed)
        exact = gemopt.solve(instance, "cpsat", time_limit=seconds)
        if exact.status != gemopt.Status.OPTIMAL:
            print(f"seed {seed}: {exact.summary()}")
            continue
        proven += 1
        for name in SMALL:
            found = gemopt.solve(instance, name).objective
            gaps[name].append(100 * (found / exact.objective - 1))
    print(f"{proven} of {seeds} layers proven; % above the optimum, mean and worst")
    for name, values in gaps.items():
        print(f"{name:12}{np.mean(values):8.2f}{max(values):8.2f}")


def compare(file: Path, seeds: int) -> list[dict[str, Any]]:
    """Cost of every method on unseen steps, by topology and seed."""
    rows = []
    for name, (links, hosts, gpus) in TOPOLOGIES.items():
        for seed in range(100, 100 + seeds):
            seen, unseen = instances(file, links, hosts, gpus, seed)
            for method, solve in METHODS.items():
                start = time.perf_counter()
                placement = solve(seen)
                seconds = time.perf_counter() - start
                cost = gemopt.evaluate(unseen, placement)
                before = gemopt.evaluate(seen, placement)
                estimate = traffic(unseen, placement, exact=False)
                exact = cost.communication
                assert exact is not None
                print(f"{name} seed {seed} {method}: {seconds:.1f} s", flush=True)
                rows.append(
                    {
                        "topology": name,
                        "seed": seed,
                        "method": method,
                        "seen_us": before.objective,
                        "total_us": cost.objective,
                        "straggler_us": float(cost.per_step.sum()),
                        "communication_us": float(exact.per_step.sum()),
                        "intra_tokens": float(exact.intra_tokens.sum()),
                        "inter_tokens": float(exact.inter_tokens.sum()),
                        "estimate_error": float(
                            estimate.per_step.sum() / exact.per_step.sum() - 1
                        ),
                        "worst_layer_error": float(
                            np.abs(
                                estimate.per_step.sum(0) / exact.per_step.sum(0) - 1
                            ).max()
                        ),
                        "seconds": seconds,
                    }
                )
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    """Print means over seeds, as differences from `linear`."""
    print("differences from linear on unseen steps, mean over seeds")
    print(
        f"{'topology':17}{'method':20}{'total':>8}{'straggler':>11}{'comm':>8}"
        f"{'intra':>8}{'inter':>8}{'seen':>8}{'est.err':>9}{'worst':>7}{'s':>7}"
    )
    for name in TOPOLOGIES:
        part = [row for row in rows if row["topology"] == name]
        base = {row["seed"]: row for row in part if row["method"] == "linear"}

        def mean(method: str, key: str, part: Any = part, base: Any = base) -> str:
            values = [
                row[key] / base[row["seed"]][key] - 1
                for row in part
                if row["method"] == method and base[row["seed"]][key]
            ]
            return f"{100 * np.mean(values):+.1f}%" if values else "-"

        for method in METHODS:
            mine = [row for row in part if row["method"] == method]
            print(
                f"{name:17}{method:20}{mean(method, 'total_us'):>8}"
                f"{mean(method, 'straggler_us'):>11}"
                f"{mean(method, 'communication_us'):>8}"
                f"{mean(method, 'intra_tokens'):>8}{mean(method, 'inter_tokens'):>8}"
                f"{mean(method, 'seen_us'):>8}"
                f"{100 * np.mean([r['estimate_error'] for r in mine]):>+8.2f}%"
                f"{100 * max(r['worst_layer_error'] for r in mine):>6.1f}%"
                f"{np.mean([r['seconds'] for r in mine]):>7.2f}"
            )


def main() -> None:
    """Run all methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tokens", type=Path)
    what.add_argument("--small", action="store_true")
    parser.add_argument("--file", default="mmlu_test.npz")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="limit of cpsat")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    if options.small:
        against_optimum(options.seeds, options.seconds)
        return
    rows = compare(options.tokens / options.file, options.seeds)
    table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
