"""Improve the best known placements with any of the solvers.

`python -m instances.improve --solver search --time-limit 10 [NAME ...]`
runs on all steps of each instance, starts from the best known placement, and keeps
what is better: a placement, a lower bound, or the proof that both meet.
`--solver brute-force` counts all placements of a small instance with few spare slots.

`python -m instances.improve --bound 10 [NAME ...]` works on the lower bound alone, so
many seconds a layer from the best known placement on. Every instance is written when it
is done; who starts again goes on with those that had fewer seconds.
"""

import argparse
import math
import re
from pathlib import Path

import gemopt
from gemopt.bounds import lower_bound
from gemopt.files.best_known import BestKnown, read_best_known, write_best_known
from gemopt.files.catalog import read_catalog, resolve
from gemopt.files.instance_file import read
from gemopt.files.placement_file import load_placement, save_placement
from gemopt.run.result import PROOF_TOLERANCE, Result
from gemopt.run.solver import Solver
from instances.brute_force import BruteForce

ROOT = Path(__file__).parent
#: Options by which a solver minimises the steps given, not those to come.
AIMS = {"search": {"resample": False}}
_EACH = " s a layer"


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


def tighten(name: str, seconds: float) -> str:
    """Spend some seconds a layer on the lower bound of one instance; say its gap."""
    old = read_best_known(ROOT).get(name)
    if old is None or old.value_us is None:
        return f"{name}: no placement to start from"
    if old.tag == "opt" or _spent(old) >= seconds:
        return f"{name}: {old.tag} already, bound of {_spent(old):g} s a layer"
    instance = read(resolve(name, ROOT))
    start = load_placement(ROOT / "best" / f"{name}.placement.json", instance)
    bound = lower_bound(instance, seconds, placement=start).value
    known = read_best_known(ROOT)  # now, as another run may have written meanwhile
    new = _raised(known[name], bound, f"gemopt {gemopt.__version__} {seconds:g}{_EACH}")
    write_best_known(ROOT, known | {name: new})
    return f"{name}: {_gap(old)} before, {_gap(new)} now"


def _spent(known: BestKnown) -> float:
    """Seconds a layer of the run that proved the bound; 0 if that was another kind."""
    found = re.search(
        rf"bound: gemopt {re.escape(gemopt.__version__)} (\S+){_EACH}", known.provenance
    )
    return float(found[1]) if found else 0.0


def _gap(known: BestKnown) -> str:
    if known.value_us is None or known.bound_us is None:
        return "no gap"
    return f"{100 * (known.value_us / known.bound_us - 1):.2f} %"


def _merged(old: BestKnown, result: Result) -> BestKnown:
    value = math.inf if old.value_us is None else old.value_us
    who = f"gemopt {gemopt.__version__} {result.solver} seed {result.seed}"
    if result.objective < value:
        notes = [note for note in _notes(old) if not note.startswith("value")]
        old = old.model_copy(
            update={
                "value_us": result.objective,
                "provenance": "; ".join([f"value: {who}", *notes]),
            }
        )
    return _raised(old, result.lower_bound, f"in the run of {who}")


def _raised(old: BestKnown, bound: float, who: str) -> BestKnown:
    """Keep the better of two bounds, and settle the tag."""
    value = math.inf if old.value_us is None else old.value_us
    proven, notes = -math.inf if old.bound_us is None else old.bound_us, _notes(old)
    if bound > proven:
        proven = bound
        notes = [note for note in notes if not note.startswith("bound")]
        notes.append(f"bound: {who}")
    meet = value - proven <= PROOF_TOLERANCE * abs(value)
    return BestKnown(
        tag="unkn" if math.isinf(value) else "opt" if meet else "best",
        value_us=None if math.isinf(value) else value,
        bound_us=None if math.isinf(proven) else proven,
        provenance="; ".join(notes),
    )


def _notes(known: BestKnown) -> list[str]:
    return [note for note in known.provenance.split("; ") if note]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="instances; none means all")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--solver", action="append", default=[])
    task.add_argument("--bound", type=float, metavar="SECONDS", help="a layer")
    parser.add_argument("--time-limit", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for each in options.names or [e.name for e in read_catalog(ROOT).instances]:
        if options.bound is not None:
            print(tighten(each, options.bound), flush=True)
        for chosen in options.solver:
            method = BruteForce if chosen == "brute-force" else chosen
            print(
                improve(each, method, options.time_limit, options.seed, options.jobs),
                flush=True,
            )
