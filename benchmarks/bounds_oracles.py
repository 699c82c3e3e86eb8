"""Our solvers of bounds against general ones: SCS, and HiGHS on linear programs.

    python -m benchmarks.bounds_oracles scs --experts 32 64
    python -m benchmarks.bounds_oracles lp

`scs`: the co-location bound of equal GPUs without replicas by our first-order method
and by SCS, each stopped after some seconds; both duals go through the same certificate.
`lp`: the assignment bound by our Newton steps, all steps at once, and by one linear
program a step. Seconds are those of a core (SCS and HiGHS run on one thread). Gaps are
to the placement of `search`.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog

import gemopt
from benchmarks.colocation_scs import solve_scs
from benchmarks.layers import bursts, shaped
from gemopt import Instance
from gemopt.bounds.colocation.first_order import solve
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.steps.assignment import assignment
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.latency import TileActive


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """What `work` returns, and the seconds of a core that it took."""
    began = time.process_time()
    value = work()
    return value, time.process_time() - began


def compare_scs(experts: int, gpus: int, limits: list[float]) -> None:
    """Print a row for each solver and limit."""
    instance = shaped(bursts(experts, 100), gpus, False, 0)
    params = {"preset": "default", "resample": False}
    found = gemopt.solve(instance, "search", params=params)
    steps = raised_steps(instance, 0, water_filling(instance)[0])[0]
    working = gemopt.evaluate(instance, found.placement).per_gpu.max(axis=2).T[0]
    p = layer_program(instance, 0, steps, working)
    shares = np.zeros((experts, gpus))
    shares[found.placement.phy2log[0], instance.slot2gpu] = 1.0
    for limit in limits:
        for name, work in (
            (
                "ours",
                lambda t=limit: (
                    solve(p, p.matrix(shares), seconds=t, iterations=10**9).value
                ),
            ),
            ("SCS", lambda t=limit: solve_scs(p, seconds=t)[1]),
        ):
            value, seconds = timed(work)
            gap = f"{100 * (found.objective / value - 1):.3f} %"
            cells = [f"E{experts} G{gpus}", name, f"{limit:g}", f"{seconds:.1f}", gap]
            print(f"| {' | '.join(cells)} |", flush=True)


def tiles(experts: int, gpus: int) -> Instance:
    """Four classes of GPUs whose latency depends on tiles and active experts."""
    models = [
        TileActive(20, 1.5 * s, 2 * s, 0.05 * s, 16)
        for s in np.repeat([1.0, 1.05, 1.1, 1.3], gpus // 4)
    ]
    return Instance.from_arrays(bursts(experts, 100)[:, None], models)


def by_programs(instance: Instance) -> float:
    """Weighted sum of one linear program a step, us."""
    loads = instance.loads[0]
    models, first, members = np.unique(
        instance.gpu2class, return_index=True, return_counts=True
    )
    experts, kinds = len(loads), len(models)
    total = 0.0
    for t in range(instance.num_steps):
        cost = np.empty((experts, kinds))
        base = np.empty(kinds)
        for k, g in enumerate(first):
            model = instance.latency[g]
            base[k] = float(model.us(np.zeros((1, 1)))[0])
            cost[:, k] = model.us(loads[:, t][:, None].astype(float)) - base[k]
        time_rows = np.zeros((kinds, experts * kinds + 1))
        for k in range(kinds):
            time_rows[k, k : experts * kinds : kinds] = cost[:, k]
            time_rows[k, -1] = -members[k]
        place = np.kron(np.eye(experts), np.ones(kinds))
        fill = np.kron(np.ones(experts), np.eye(kinds))
        found = linprog(
            np.append(np.zeros(experts * kinds), 1.0),
            A_ub=time_rows,
            b_ub=-members * base,
            A_eq=np.pad(np.vstack([place, fill]), ((0, 0), (0, 1))),
            b_eq=np.append(np.ones(experts), members * instance.slots[first]),
            method="highs",
        )
        total += found.fun * instance.weights[t]
    return total


def compare_lp(experts: int, gpus: int) -> None:
    """Print a row for each."""
    instance = tiles(experts, gpus)
    found = gemopt.solve(instance, "search", params={"resample": False})
    nothing = np.zeros(instance.num_steps)
    for name, work in (
        ("ours", lambda: float(assignment(instance, 0, nothing) @ instance.weights)),
        ("HiGHS", lambda: by_programs(instance)),
    ):
        value, seconds = timed(work)
        gap = f"{100 * (found.objective / value - 1):.4f} %"
        print(f"| E{experts} G{gpus} | {name} | {seconds:.2f} | {gap} |", flush=True)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["scs", "lp"])
    parser.add_argument("--experts", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--limits", type=float, nargs="+", default=[1.0, 10.0])
    args = parser.parse_args()
    small = tiles(16, 4)  # compile before the clock runs
    assignment(small, 0, np.zeros(small.num_steps))
    for experts in args.experts:
        gpus = max(4, experts // 8)
        if args.part == "scs":
            compare_scs(experts, gpus, args.limits)
        else:
            compare_lp(experts, gpus)


if __name__ == "__main__":
    main()
