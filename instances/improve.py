"""Improve the best known placements with any of the solvers.

`python instances/improve.py --solver search --time-limit 10 [NAME ...]`
runs on all steps of each instance, starts from the best known placement, and keeps
what is better: a placement, a lower bound, or the proof that both meet.
`--solver brute-force` counts all placements of a small instance with few spare slots.
"""

import argparse
import math
from pathlib import Path

import gemopt
from gemopt.io.best_known import BestKnown, read_best_known, write_best_known
from gemopt.io.catalog import read_catalog, resolve
from gemopt.io.instance_file import read
from gemopt.io.placement_file import load_placement, save_placement
from gemopt.result import PROOF_TOLERANCE, Result
from gemopt.solver import Solver

ROOT = Path(__file__).parent
#: Options by which a solver minimises the steps given, not those to come.
AIMS = {"search": {"resample": False}}


def improve(
    name: str, solver: str | type[Solver], time_limit: float, seed: int, jobs: int
) -> str:
    """Run one solver on one instance and keep what is better; say what happened."""
    instance = read(resolve(name, ROOT))
    target = ROOT / "best" / f"{name}.placement.json"
    start = load_placement(target, instance) if target.exists() else None
    try:
        result = gemopt.solve(
            instance,
            solver,
            time_limit=time_limit,
            seed=seed,
            start=start,
            jobs=jobs,
            params=AIMS.get(solver, {}) if isinstance(solver, str) else {},
        )
    except ValueError as error:
        return f"{name}: {error}"
    known = read_best_known(ROOT)  # now, as another run may have written meanwhile
    old = known.get(name) or BestKnown(
        tag="unkn", value_us=None, bound_us=None, provenance=""
    )
    new = _merged(old, result)
    if new == old:
        return f"{name}: nothing better ({result.summary()})"
    if new.value_us != old.value_us and result.placement is not None:
        target.parent.mkdir(exist_ok=True)
        save_placement(result.placement, target, instance, result=result)
    write_best_known(ROOT, known | {name: new})
    return f"{name}: {new.tag} {new.value_us} us, bound {new.bound_us}"


def _merged(old: BestKnown, result: Result) -> BestKnown:
    value = math.inf if old.value_us is None else old.value_us
    bound = -math.inf if old.bound_us is None else old.bound_us
    who = f"gemopt {gemopt.__version__} {result.solver} seed {result.seed}"
    notes = [note for note in old.provenance.split("; ") if note]
    if result.objective < value:
        value = result.objective
        notes = [f"value: {who}", *(n for n in notes if not n.startswith("value"))]
    if result.lower_bound > bound:
        bound = result.lower_bound
        notes = [
            *(n for n in notes if not n.startswith("bound")),
            f"bound: in the run of {who}",
        ]
    proven = value - bound <= PROOF_TOLERANCE * abs(value)
    return BestKnown(
        tag="unkn" if math.isinf(value) else "opt" if proven else "best",
        value_us=None if math.isinf(value) else value,
        bound_us=None if math.isinf(bound) else bound,
        provenance="; ".join(notes),
    )


def _brute_force() -> type[Solver]:
    from exhaustive import BruteForce

    return BruteForce


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="instances; none means all")
    parser.add_argument("--solver", action="append", required=True)
    parser.add_argument("--time-limit", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for each in options.names or [e.name for e in read_catalog(ROOT).instances]:
        for chosen in options.solver:
            method = _brute_force() if chosen == "brute-force" else chosen
            print(
                improve(each, method, options.time_limit, options.seed, options.jobs),
                flush=True,
            )
