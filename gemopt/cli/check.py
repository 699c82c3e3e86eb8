"""``gemopt check``: is a placement feasible, and what does it cost?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import (
    InstanceArg,
    InstancesOption,
    JsonOption,
    print_json,
)

if TYPE_CHECKING:
    from gemopt.cost.evaluate import Evaluation
    from gemopt.files.placement_file import SavedPlacement
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement

_EQUAL = 1e-9  # relative; files hold all digits


def command(
    instance: InstanceArg,
    placement: Annotated[Path, typer.Argument(help="Placement file.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Accept a placement made for another instance."),
    ] = False,
    proof: Annotated[
        Path | None,
        typer.Option("--proof", help="Bound file to verify, without its solver."),
    ] = None,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check a placement file against an instance, and evaluate it anew."""
    from gemopt.bounds.stored import verified_bound
    from gemopt.cost.evaluate import evaluate
    from gemopt.files.catalog import load
    from gemopt.files.digest import instance_digest
    from gemopt.files.errors import FileError
    from gemopt.files.placement_file import read_placement
    from gemopt.model.check import violations

    problem = load(instance, instances)
    saved = read_placement(placement)
    own = saved.digest == instance_digest(problem)
    if not own and not force:
        raise FileError(
            placement,
            f"instance.digest = {saved.digest!r} (instance {saved.instance!r}) is not "
            f"that of {instance}; --force checks it all the same",
        )
    broken = violations(problem, saved.placement)
    if broken:
        _show_broken(placement, broken, saved.placement, as_json)
        return 1
    parts = _parts(problem, saved, placement) if own else {}
    result = evaluate(problem, saved.placement)
    proven = None if proof is None else verified_bound(proof, problem)
    if as_json:
        print_json(
            {
                "feasible": True,
                "verified_bound_us": proven,
                **parts,
                "objective_us": result.objective,
                "straggler_us": result.straggler_us,
                "communication_us": result.communication_us,
                "claimed_objective_us": saved.objective_us,
                "seen_steps": list(saved.steps),
                "idle_fraction": result.idle_fraction,
                "straggler_share": result.straggler_share,
                "balancedness": result.balancedness,
            }
        )
        return 0
    print(f"{placement}: feasible, {result.objective:.6g} us over all steps")
    for part, cost in parts.items():
        print(f"  {part.partition('_')[0]} steps: {cost:.6g} us")
    _show(problem, result, proven)
    return 0


def _show_broken(
    path: Path, broken: list[str], placement: Placement, as_json: bool
) -> None:
    from gemopt.model.check import second_copies

    wasted = int(second_copies(placement.phy2log, placement.slots).sum())
    if as_json:
        print_json({"feasible": False, "violations": broken, "wasted_slots": wasted})
        return
    print(f"{path}: infeasible")
    for line in broken:
        print(f"  {line}")
    if wasted:
        print(f"  wasted slots, whose GPU holds their expert already: {wasted}")


def _show(problem: Instance, result: Evaluation, proven: float | None) -> None:
    """Print the verified bound, if any, and where the time goes."""
    if proven is not None:
        gap = 1 - proven / result.objective
        print(f"  verified bound {proven:.6g} us: gap {100 * gap:.2f} %")
    if problem.comm is not None:
        print(
            f"  straggler {result.straggler_us:.6g} us, "
            f"communication {result.communication_us:.6g} us"
        )
    print(f"idle {100 * result.idle_fraction:.2f} % of GPU time")
    for name, share in zip(problem.gpu_names, result.straggler_share, strict=True):
        print(f"  {name} is the slowest in {100 * share:.1f} % of layers and steps")
    for engine, value in result.balancedness.items():
        print(f"  balancedness as {engine} defines it: {value:.4f}")


def _parts(problem: Instance, saved: SavedPlacement, path: Path) -> dict[str, Any]:
    """Cost on the steps that the solver saw and, if there are any, on later ones.

    Raises
    ------
    FileError
        The file claims another cost.
    """
    from gemopt.cost.evaluate import evaluate
    from gemopt.files.errors import FileError

    start, stop = saved.steps
    if not 0 <= start < stop <= problem.num_steps:
        raise FileError(
            path,
            f"instance.steps = [{start}, {stop}] is no part of the "
            f"{problem.num_steps} steps",
        )
    seen = evaluate(problem.steps(start, stop), saved.placement).objective
    claim = saved.objective_us
    if claim is not None and not math.isclose(claim, seen, rel_tol=_EQUAL):
        raise FileError(path, f"objective_us = {claim}, but the placement costs {seen}")
    parts = {"seen_objective_us": seen}
    if stop < problem.num_steps:
        later = problem.steps(stop, problem.num_steps)
        parts["unseen_objective_us"] = evaluate(later, saved.placement).objective
    return parts
