"""``gemopt bound``: what does any placement cost at least?"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import (
    InstanceArg,
    InstancesOption,
    JsonOption,
    parse_effort,
    print_json,
    require_writable,
)

if TYPE_CHECKING:
    from gemopt.bounds import Bound
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement


def command(
    instance: InstanceArg,
    placement: Annotated[
        Path | None,
        typer.Argument(help="Placement file: the gap to it, and a better start."),
    ] = None,
    effort: Annotated[
        str,
        typer.Option("--bound", help="none, quick, strong, or seconds a layer."),
    ] = "strong",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Bound file, for `gemopt check --proof`."),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", help="Seconds for all layers.")
    ] = None,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Prove what every placement costs at least; write what proves it."""
    require_writable(output, "--output")
    value = parse_effort(effort)
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"--time-limit = {time_limit} must be > 0")
    from gemopt.bounds import lower_bound
    from gemopt.bounds.stored import save_bound
    from gemopt.cli.live import CountBar
    from gemopt.files.catalog import load
    from gemopt.files.placement_file import load_placement

    problem = load(instance, instances)
    start = None if placement is None else load_placement(placement, problem)
    with _halting() as halted, CountBar() as bar:
        bar.begin("layers")
        bound = lower_bound(
            problem,
            value,
            placement=start,
            time_limit=time_limit,
            stop=halted.is_set,
            progress=lambda done, layers: bar.update(done, layers, ""),
        )
    if output is not None:
        save_bound(bound, output, problem)
    report = _report(problem, bound, start, output)
    if as_json:
        print_json(report)
    else:
        _show(report)
    return 130 if halted.is_set() else 0


@contextmanager
def _halting() -> Iterator[Event]:
    """Let the first Ctrl-C end the work with what is proven, the second the program."""
    halted = Event()

    def halt(*_: object) -> None:
        halted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, halt)
    try:
        yield halted
    finally:
        signal.signal(signal.SIGINT, before)


def _report(
    problem: Instance, bound: Bound, start: Placement | None, output: Path | None
) -> dict[str, Any]:
    from gemopt.cost.evaluate import evaluate

    cost = None if start is None else evaluate(problem, start).objective
    return {
        "instance": problem.name,
        "lower_bound_us": bound.value,
        "per_layer_us": bound.per_layer,
        "kind": list(bound.kind),
        "objective_us": cost,
        "gap": None if cost is None else max(0.0, 1.0 - bound.value / cost),
        "file": None if output is None else str(output),
    }


def _show(report: dict[str, Any]) -> None:
    kinds = ", ".join(f"{kind}: {n}" for kind, n in Counter(report["kind"]).items())
    name = report["instance"] or "instance"
    print(f"{name}: every placement costs at least {report['lower_bound_us']:.6g} us")
    print(f"layers by bound: {kinds}")
    if report["gap"] is not None:
        cost, gap = report["objective_us"], 100 * report["gap"]
        print(f"this one costs {cost:.6g} us: gap {gap:.2f} %")
    if report["file"] is not None:
        print(f"written to {report['file']}")
