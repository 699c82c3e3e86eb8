"""Compare the learned solver with heuristics at equal time; prints a Markdown table.

    python examples/plugin/compare.py [--seconds 10] [--seeds 3] [INSTANCE ...]

Every solver gets the first half of the steps and the same seconds on one thread, after
a run that loads and compiles its code; `seconds` says how many it used, since some come
to an end of their own. Costs
are of the second half, which no solver sees, per step, and the mean over the seeds;
"seen" is the change against `lpt` in the first half, "unseen" that in the second, with
the standard error over the seeds.
"""

import argparse

import numpy as np
from gemopt_policy_gradient.solver import PolicyGradient

import gemopt

INSTANCES = (
    "real-b512-g4-s68-tiles",
    "real-b512-g8-s64-curve",
    "paper-llama-4-scout-high",
    "paper-hunyuan-a13b-high",
)
SOLVERS = ("lpt", "gem", "search", PolicyGradient)


def main() -> None:
    """Parse the options, run, and print a line for each instance and solver."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("instances", nargs="*", default=INSTANCES)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| instance | solver | seen | unseen | us a step, unseen | seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in options.instances:
        for line in lines(name, options.seconds, options.seeds):
            print(line, flush=True)


def lines(name: str, seconds: float, seeds: int) -> list[str]:
    """Run all solvers on one instance."""
    seen, unseen = gemopt.load(name).split(0.5)
    steps = unseen.weights.sum()
    found, reference = [], np.array([np.nan, np.nan])
    for solver in SOLVERS:
        gemopt.solve(seen, solver, iterations=1)
        runs = [
            gemopt.solve(seen, solver, time_limit=seconds, seed=seed)
            for seed in range(seeds)
        ]
        costs = np.array(
            [
                (run.objective, gemopt.evaluate(unseen, run.placement).objective)
                for run in runs
            ]
        )
        if solver == "lpt":
            reference = costs.mean(axis=0)
        change = 100 * (costs / reference - 1)
        mean, error = change.mean(axis=0), change.std(axis=0, ddof=1) / seeds**0.5
        used = np.mean([run.seconds for run in runs])
        found.append(
            f"| {name} | {runs[0].solver} | {mean[0]:+.2f} % "
            f"| {mean[1]:+.2f} ± {error[1]:.2f} % "
            f"| {costs[:, 1].mean() / steps:,.1f} | {used:.1f} |"
        )
    return found


if __name__ == "__main__":
    main()
