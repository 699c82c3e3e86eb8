"""Trials around bound C that did not pay: branching on pairs, cuts of single rows.

    python -m benchmarks.trials.pairs_and_cuts branching
    python -m benchmarks.trials.pairs_and_cuts cuts

Both on gpt-oss-20b decoding, equal GPUs, layer 6: traffic that no table reports.
``branching`` fixes that two of the hottest experts are apart or together and prints
what either does to bound C; a branch-and-bound gains the smaller of the two. ``cuts``
takes the matrix that solves C and asks a linear program, for the fullest row of single
steps, how much the best inequality in that row could add (4 experts a GPU: all sets are
listed).
"""

import argparse
from itertools import combinations
from unittest.mock import patch

import numpy as np
from scipy.optimize import linprog

import gemopt
from benchmarks.layers import decoding, shaped
from gemopt import Instance
from gemopt.bounds.colocation import certificate, first_order
from gemopt.bounds.colocation.program import Program
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.steps.counting import count_heavy
from gemopt.bounds.steps.minorant import minorant
from gemopt.bounds.steps.water_filling import water_filling

SEED, LAYER = 10, 6
PAIRS = ((0, 1), (0, 2), (1, 2), (0, 3), (2, 3), (4, 5))  #: ranks by tokens
FORCED = 1e6  #: us, makes an entry come first or last


def prepared(gpus: int) -> tuple[Instance, Program, np.ndarray]:
    """Instance, program of C and the matrix of a placement."""
    counts = decoding(LAYER, SEED)
    if counts is None:
        raise SystemExit("needs shared/traces beside the checkout, or GEMOPT_TRACES")
    instance = shaped(counts, gpus, False, SEED)
    params = {"preset": "best", "resample": False}
    run = gemopt.solve(instance, "search", params=params, bound_effort="none")
    steps = gemopt.evaluate(instance, run.placement).per_gpu.max(axis=2)[:, 0]
    bound = count_heavy(minorant(instance, 0), water_filling(instance)[0])
    p = layer_program(instance, 0, bound, steps.ravel())
    shares = np.zeros((instance.num_experts, gpus))
    shares[run.placement.phy2log[0], instance.slot2gpu] = 1.0
    return instance, p, p.matrix(shares)


def fixed(p: Program, start: np.ndarray, e: int, f: int, together: int) -> float:
    """Bound C in us when e and f are on one GPU, or are not."""
    project, homes = first_order.project_entries, certificate.home_costs

    def projected(p: Program, a: np.ndarray) -> np.ndarray:
        q = project(p, a)
        q[e, f] = q[f, e] = together
        return q

    def costs(p: Program, r: np.ndarray) -> np.ndarray:
        r = r.copy()
        sign = -FORCED if together else FORCED
        r[e, f] += sign
        r[f, e] += sign
        out = homes(p, r)
        out[[e, f]] += FORCED * together
        return out

    with (
        patch.object(first_order, "project_entries", projected),
        patch.object(certificate, "home_costs", costs),
    ):
        return first_order.solve(p, start, seconds=60, iterations=2000).value


def branching() -> None:
    """Print what fixing one pair does to the bound."""
    print("| GPUs | pair | apart | together |\n| --- | --- | --- | --- |")
    for gpus in (4, 8):
        instance, p, start = prepared(gpus)
        root = first_order.solve(p, start, seconds=60, iterations=2000).value
        hot = np.argsort(-instance.counts[:, 0].sum(axis=0))
        for i, j in PAIRS:
            gains = [
                100 * (fixed(p, start, hot[i], hot[j], on) / root - 1) for on in (0, 1)
            ]
            print(f"| {gpus} | {i}, {j} | {gains[0]:+.3f} % | {gains[1]:+.3f} % |")


def cuts() -> None:
    """Print what the best inequality of one row of one step adds."""
    instance, p, start = prepared(8)
    state = first_order._State(p, start)
    for _ in range(1500):
        state.iterate()
    x = np.clip(state.entries, 0, 1)
    loads = p.rows @ x - p.kappa[:, None]
    sets = np.array(list(combinations(range(instance.num_experts - 1), 3)))
    member = np.zeros((instance.num_experts - 1, len(sets)))
    np.put_along_axis(member, sets.T, 1.0, axis=0)
    gains = []
    for t in np.random.default_rng(0).permutation(len(loads))[:12]:
        e = int(loads[t].argmax())
        others = np.delete(np.arange(instance.num_experts), e)
        excess = p.rows[t, e] + p.rows[t, others][sets].sum(axis=1) - p.kappa[t]
        share = 3 * x[e, others] / x[e, others].sum()
        best = linprog(np.maximum(excess, 0), A_eq=member, b_eq=share, method="highs")
        gains.append(best.fun - loads[t, e])
    print(f"mean gain {np.mean(gains):.4f} us a step of {p.bound.mean():.0f} us")


def main() -> None:
    """Run one trial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trial", choices=["branching", "cuts"])
    {"branching": branching, "cuts": cuts}[parser.parse_args().trial]()


if __name__ == "__main__":
    main()
