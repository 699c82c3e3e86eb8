"""Bounds and exact solvers against brute force on thousands of tiny random instances.

    python -m benchmarks.agreement --count 5000

Every family, with and without replicas, equal and unequal GPUs and slots. Prints what
was compared; ends with an error at the first disagreement, naming its seed.
"""

import argparse
import sys
from collections import Counter

import numpy as np

import gemopt
from benchmarks.small import FAMILIES, model
from gemopt import Instance
from gemopt.bounds import lower_bound
from gemopt.run import registry
from tests.brute_force import best_placement
from tests.strategies import random_placement

SOLVERS = ("bnb", "cpsat", "lpbb", "milp")
FIRST_SEED = 50_000


def tiny(seed: int) -> tuple[str, Instance]:
    """At most 5 experts, 3 GPUs, 4 steps and 3 spare slots; what it is, and itself."""
    rng = np.random.default_rng(FIRST_SEED + seed)
    experts, gpus = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    family, unequal = FAMILIES[seed % len(FAMILIES)], bool(rng.integers(2))
    one = model(family, rng)
    models = [model(family, rng) if unequal else one for _ in range(gpus)]
    spare = int(rng.integers(0, min(3, experts * (gpus - 1)) + 1))
    slots = np.zeros(gpus, dtype=np.int64)
    for _ in range(experts + spare):
        slots[rng.choice(np.flatnonzero(slots < experts))] += 1
    heat = rng.gamma(0.7, rng.choice([4.0, 30.0, 120.0]), experts)
    counts = rng.poisson(heat, (int(rng.integers(1, 5)), 1, experts))
    weights = rng.choice([0.5, 1.0, 3.0], len(counts)) if rng.integers(2) else None
    instance = Instance.from_arrays(counts, models, slots=slots, weights=weights)
    what = f"{family}, {'unequal' if unequal else 'equal'} GPUs"
    return f"{what}, {'replicas' if spare else 'no replicas'}", instance


def compare(seed: int) -> str:
    """Compare one instance; return what it was.

    Raises
    ------
    AssertionError
        A bound above the optimum, or a solver that misses it.
    """
    what, instance = tiny(seed)
    best, optimum = best_placement(instance)
    for effort, iterations in (("none", None), ("quick", None), (np.inf, 40)):
        bound = lower_bound(instance, effort, placement=best, iterations=iterations)
        if bound.value > optimum * (1 + 1e-9) + 1e-9:
            raise AssertionError(f"seed {seed}: {effort} {bound.value} > {optimum}")
    start = random_placement(np.random.default_rng(seed), instance)
    for solver in SOLVERS:
        cls = registry.entry(solver).load()
        if cls(cls.Params()).supports(instance) is not None:
            continue
        run = gemopt.solve(instance, solver, start=start)
        if not np.isclose(run.objective, optimum, rtol=1e-6, atol=1e-6):
            raise AssertionError(f"seed {seed}: {solver} {run.objective}, {optimum}")
        if run.lower_bound > optimum * (1 + 1e-9) + 1e-9 or run.status != "optimal":
            raise AssertionError(f"seed {seed}: {solver} bound {run.lower_bound}")
    return what


def main() -> None:
    """Compare, and print how many of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    kinds: Counter[str] = Counter()
    for seed in range(args.first, args.first + args.count):
        kinds[compare(seed)] += 1
        if (seed + 1) % 500 == 0:
            print(f"{kinds.total()} agree", file=sys.stderr, flush=True)
    print("| instances | number |\n| --- | --- |")
    for kind, number in sorted(kinds.items()):
        print(f"| {kind} | {number} |")
    print(f"| all | {kinds.total()} |")


if __name__ == "__main__":
    main()
