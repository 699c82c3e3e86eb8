"""Trials of bound C inside exact models and between exact bundles of steps.

    python -m benchmarks.trials.exact_models mip --seconds 20
    python -m benchmarks.trials.exact_models bundles

``mip`` adds what C proves to the model that `milp` hands to HiGHS, equal GPUs, and
prints the bound after some seconds: "sum" bounds the sum of all steps, "parts" also
those of blocks of 2, 4 and 8 steps, "squares" adds the quadratic form that C's
certificate leaves, ``sum_g y_g' S y_g``, by tangents in the directions of the largest
eigenvalues of S: it is 0 while every expert is everywhere and grows as HiGHS branches.
``bundles`` solves bundles of steps exactly by listing all placements on 3 GPUs, couples
them by multipliers on pairs of experts that share a GPU (blind to names of GPUs), those
of C or (9 experts) the best ones by a linear program, and prints what each proves.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import combinations
from unittest.mock import patch

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix, csr_array

import gemopt
from benchmarks.layers import bursts, shaped
from gemopt import Instance
from gemopt.bounds.colocation.certificate import Certificate, residual
from gemopt.bounds.colocation.first_order import solve
from gemopt.bounds.colocation.program import Program
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt_solvers.exact.rows import milp
from gemopt_solvers.exact.rows.model import Model
from gemopt_solvers.exact.rows.scaling import scaling_of

SEED = 900  #: of traffic that no table reports
STEPS = 16
VECTORS = 8  #: eigenvectors of S that "squares" looks at
TANGENTS = 9  #: of each square
Cut = tuple[np.ndarray, float]  #: weights of the steps, us that they cost at least


def searched(instance: Instance) -> tuple[np.ndarray, float, np.ndarray]:
    """Row, cost in us and time of every step of a long search."""
    params = {"preset": "best", "resample": False}
    run = gemopt.solve(instance, "search", params=params, bound_effort="none")
    steps = gemopt.evaluate(instance, run.placement).per_step[:, 0]
    return run.placement.phy2log[0], run.objective, steps


def co_location(
    instance: Instance, row: np.ndarray, working: np.ndarray
) -> tuple[Program, Certificate, float]:
    """Program of C, the certificate found for it and what that proves in us."""
    bound, _ = raised_steps(instance, 0, water_filling(instance)[0])
    p = layer_program(instance, 0, bound, working)
    shares = np.zeros((instance.num_experts, instance.num_gpus))
    shares[row, instance.slot2gpu] = 1.0
    found = solve(p, p.matrix(shares), seconds=60, iterations=1500)
    if found.certificate is None:
        raise SystemExit("C proves no more than single steps do")
    return p, found.certificate, found.value


def blocks(instance: Instance, row: np.ndarray, working: np.ndarray) -> Iterator[Cut]:
    """Bounds C of blocks of 2, 4 and 8 steps."""
    for size in (2, 4, 8):
        for first in range(0, instance.num_steps, size):
            part = instance.steps(first, first + size)
            try:
                value = co_location(part, row, working[first : first + size])[2]
            except SystemExit:
                continue
            weights = np.zeros(instance.num_steps)
            weights[first : first + size] = 1.0
            yield weights, value


class Extended:
    """`gemopt_solvers.exact.rows.milp._lp` with rows and columns of our own."""

    def __init__(
        self, cuts: list[Cut], squares: tuple[np.ndarray, np.ndarray] | None
    ) -> None:
        self.cuts, self.squares = cuts, squares
        self.plain = milp._lp

    def __call__(self, model: Model, scale: object, shrink: float, whole: bool):  # type: ignore[no-untyped-def]
        """Build the model, then add to it."""
        lp = self.plain(model, scale, shrink, whole)  # type: ignore[arg-type]
        own = scaling_of(model)
        values, vectors = self.squares or (np.zeros(0), np.zeros((0, 0)))
        gpus, steps = model.instance.num_gpus, model.instance.num_steps
        extra = gpus * len(values)
        rows, low = [], []
        for number, (weights, us) in enumerate(self.cuts):
            cut = np.zeros(lp.num_col_ + extra)
            per_us = 1 / (own.unit * shrink)
            cut[model.count : model.count + steps] = weights * per_us
            if number == 0:
                cut[lp.num_col_ :] = -np.tile(values, gpus)
            rows.append(cut / per_us.mean())
            low.append((us * (1 - 1e-9) - weights @ own.offset) / per_us.mean())
        for g in range(gpus):
            for k in range(len(values)):
                v = vectors[:, k]
                most = np.sort(v)[-int(model.instance.slots[g]) :].sum()
                least = np.sort(v)[: int(model.instance.slots[g])].sum()
                for at in np.linspace(least, most, TANGENTS):
                    cut = np.zeros(lp.num_col_ + extra)
                    cut[lp.num_col_ + g * len(values) + k] = 1.0
                    cut[model.held[:, g]] = -2 * at * v
                    rows.append(cut)
                    low.append(-(at**2))
        return appended(lp, np.array(rows), np.array(low), extra)


def appended(lp, rows: np.ndarray, low: np.ndarray, columns: int):  # type: ignore[no-untyped-def]
    """Add `columns` free columns >= 0 and the rows ``rows x >= low`` to a model."""
    import highspy

    if len(rows) == 0:
        return lp
    more = csr_array(rows)
    start = np.array(lp.a_matrix_.start_)
    lp.a_matrix_.start_ = np.concatenate([start, start[-1] + more.indptr[1:]])
    lp.a_matrix_.index_ = np.concatenate([lp.a_matrix_.index_, more.indices])
    lp.a_matrix_.value_ = np.concatenate([lp.a_matrix_.value_, more.data])
    lp.row_lower_ = np.concatenate([lp.row_lower_, low])
    lp.row_upper_ = np.concatenate(
        [lp.row_upper_, np.full(len(low), highspy.kHighsInf)]
    )
    lp.num_row_ = lp.num_row_ + len(low)
    lp.col_cost_ = np.concatenate([lp.col_cost_, np.zeros(columns)])
    lp.col_lower_ = np.concatenate([lp.col_lower_, np.zeros(columns)])
    lp.col_upper_ = np.concatenate([lp.col_upper_, np.full(columns, highspy.kHighsInf)])
    real = highspy.HighsVarType.kContinuous
    lp.integrality_ = [*lp.integrality_, *[real] * columns]
    lp.num_col_ = lp.num_col_ + columns
    return lp


def mip(seconds: float, seeds: int) -> None:
    """Print the gap of a long search to the bound of HiGHS with each kind of cut."""
    print("| shape | seed | C | plain | sum | parts | squares |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for experts, gpus in ((32, 4), (64, 8)):
        for seed in range(seeds):
            counts = bursts(experts, SEED + seed)[:STEPS]
            instance = shaped(counts, gpus, False, seed)
            row, cost, working = searched(instance)
            try:
                _, dual, value = co_location(instance, row, working)
            except SystemExit as nothing:
                print(f"| E{experts} G{gpus} | {seed} | {nothing} |", flush=True)
                continue
            bound, _ = raised_steps(instance, 0, water_filling(instance)[0])
            spectrum, vectors = np.linalg.eigh(0.5 * (dual.psd + dual.psd.T))
            squares = (spectrum[-VECTORS:], vectors[:, -VECTORS:])
            total = (np.ones(STEPS), value)
            parts = list(blocks(instance, row, working))
            gaps = [cost / value - 1]
            for cuts, form in (
                ([], None),
                ([total], None),
                ([total, *parts], None),
                ([total], squares),
            ):
                model = Model(instance, 0, bound, cost, None, None)
                with patch.object(milp, "_lp", Extended(cuts, form)):
                    answer = milp.run_highs(
                        model, row, seconds=seconds, jobs=1, seed=0, stop=lambda: False
                    )
                gaps.append(cost / answer.bound - 1)
            cells = " | ".join(f"{100 * gap:.2f} %" for gap in gaps)
            print(f"| E{experts} G{gpus} | {seed} | {cells} |", flush=True)


def partitions(experts: int, size: int) -> np.ndarray:
    """Every way to share experts out to nameless GPUs, names ``[ways, experts]``."""
    found: list[np.ndarray] = []

    def fill(names: np.ndarray, gpu: int) -> None:
        free = np.flatnonzero(names < 0)
        if len(free) == 0:
            found.append(names.copy())
            return
        for others in combinations(free[1:].tolist(), size - 1):
            names[[free[0], *others]] = gpu
            fill(names, gpu + 1)
            names[[free[0], *others]] = -1

    fill(np.full(experts, -1), 0)
    return np.array(found)


def coupled(costs: np.ndarray, pairs: np.ndarray, multipliers: np.ndarray) -> float:
    """Bound of bundles ``[ways, bundles]`` with multipliers ``[bundles, pairs]``."""
    return float(
        (costs + pairs @ (multipliers - multipliers.mean(axis=0)).T).min(0).sum()
    )


def best_coupled(costs: np.ndarray, pairs: np.ndarray) -> float:
    """Bound with the best multipliers: mixtures of ways that agree on all pairs."""
    ways, bundles = costs.shape
    width = pairs.shape[1]
    way, pair = np.nonzero(pairs)
    rows, columns, values = [], [], []
    for b in range(bundles):
        rows.append(np.full(ways, b))
        columns.append(b * ways + np.arange(ways))
        values.append(np.ones(ways))
        for other, sign in ((b, 1.0), (b - 1, -1.0)):  # agrees with the next one
            if 0 <= other < bundles - 1:
                rows.append(bundles + other * width + pair)
                columns.append(b * ways + way)
                values.append(np.full(len(way), sign))
    left = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(bundles + (bundles - 1) * width, ways * bundles),
    ).tocsr()
    right = np.concatenate([np.ones(bundles), np.zeros((bundles - 1) * width)])
    found = linprog(costs.T.ravel(), A_eq=left, b_eq=right, method="highs-ipm")
    return float(found.fun)


def bundles(seconds: float, seeds: int) -> None:
    """Print the gap of the optimum to each way of bundling."""
    del seconds
    print("| shape | seed | multipliers | 1 step | 2 steps | 4 steps | 8 steps |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for experts in (9, 12):
        for seed in range(seeds):
            for name, gaps in _bundled(experts, seed):
                cells = [f"{100 * gap:.2f} %" for gap in gaps] + 3 * [""]
                cells = [f"E{experts} G3", str(seed), name, *cells[:4]]
                print(f"| {' | '.join(cells)} |", flush=True)


def _bundled(experts: int, seed: int) -> Iterator[tuple[str, list[float]]]:
    """Gaps of the optimum to C (once) and to bundles of 1, 2, 4 and 8 steps."""
    ways = partitions(experts, experts // 3)
    left, right = np.triu_indices(experts, 1)
    pairs = (ways[:, left] == ways[:, right]).astype(np.float64)
    instance = shaped(bursts(experts, SEED + seed)[:STEPS], 3, False, seed)
    row, _, working = searched(instance)
    per_step = np.array([_times(instance, way) for way in ways])
    optimum = per_step.sum(axis=1).min()
    p, dual, value = co_location(instance, row, working)
    yield "C itself", [optimum / value - 1]
    w, _ = residual(p, dual)
    rows = np.einsum("ti,tj->tij", w, p.rows)
    rows = -(rows + rows.transpose(0, 2, 1))[:, left, right]
    sizes = (1, 2, 4, 8)
    costs = [per_step.reshape(len(ways), -1, size).sum(axis=2) for size in sizes]
    of_c = [rows.reshape(-1, size, len(left)).sum(axis=1) for size in sizes]
    alone = [coupled(c, pairs, 0 * m) for c, m in zip(costs, of_c, strict=True)]
    yield "none", [optimum / bound - 1 for bound in alone]
    with_c = [coupled(c, pairs, m) for c, m in zip(costs, of_c, strict=True)]
    yield "those of C", [optimum / bound - 1 for bound in with_c]
    if experts == 9:
        yield "the best", [optimum / best_coupled(c, pairs) - 1 for c in costs]


def _times(instance: Instance, way: np.ndarray) -> np.ndarray:
    """Time of every step in us when expert e is on GPU ``way[e]``."""
    row = np.argsort(way, kind="stable")[None]
    placement = gemopt.Placement(row, instance.slots)
    return gemopt.evaluate(instance, placement).per_step[:, 0]


def main() -> None:
    """Run one trial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    trials: dict[str, Callable[[float, int], None]] = {"mip": mip, "bundles": bundles}
    parser.add_argument("trial", choices=list(trials))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    trials[args.trial](args.seconds, args.seeds)


if __name__ == "__main__":
    main()
