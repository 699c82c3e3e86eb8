"""The benchmark runner: solvers x instances x seeds, one JSON line a run."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gemopt.files.journal import Journal, read_entries
from gemopt.model.instance import Instance
from gemopt.run.stop import StopReason

PACKAGES = ("gemopt", "numpy", "numba", "scipy", "ortools", "highspy")


@dataclass(frozen=True)
class Task:
    """One run; its fields are the key that makes a run file resumable."""

    instance: str
    digest: str  #: of the instance, so that one of the same name is another run
    solver: str
    params: Mapping[str, Any]
    seed: int
    time_limit: float | None
    iterations: int | None
    unseen: float | None
    bound_effort: str | float


def machine(jobs: int) -> dict[str, Any]:
    """Versions, processor and cores, for the header of every table."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": processor(),
        "cores": os.cpu_count() or 1,
        "cores_per_run": 1,
        "runs_at_once": jobs,
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    """Name of the processor as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def bench(
    solvers: Sequence[str],
    instances: Mapping[str, Instance],
    seeds: Iterable[int],
    path: str | Path,
    *,
    params: Mapping[str, Mapping[str, Any]] = {},
    best_known: Mapping[str, float] = {},
    time_limit: float | None = None,
    iterations: int | None = None,
    unseen: float | None = None,
    bound_effort: str | float = "quick",
    jobs: int = 1,
    done: Callable[[dict[str, Any]], None] = lambda run: None,
) -> int:
    """Run every solver on every instance with every seed; append to a `.jsonl` file.

    Every run gets one core and the same limits, whatever its solver; loading and
    compiling come before its clock. Runs that the file already holds are not repeated,
    so an interrupted benchmark is resumed by starting it again. A refusal is such a
    run, and so is one that finds nothing; one that ends with an exception is recorded
    but repeated. Lines are complete or absent: each is flushed at once, an unfinished
    last line is dropped on the next start, and an interrupted run is not recorded.

    Parameters
    ----------
    solvers, instances, seeds
        What to run; `instances` by name.
    path
        The run file.
    params
        Options by solver.
    best_known
        Best known objective over all steps by instance, us; recorded with the runs.
    time_limit, iterations
        Limits of one run.
    unseen
        Share of the steps, at the end, that no solver sees; their cost is recorded.
    bound_effort
        As in `gemopt.solve`, of every run.
    jobs
        Runs at the same time, each in a process of its own.
    done
        Called with every finished run.

    Returns
    -------
    int
        How many runs were made.

    Raises
    ------
    ValueError
        An unknown solver, or a file that holds something else than runs.
    KeyboardInterrupt
        Ctrl-C; the runs that ended before are in the file.
    """
    from gemopt.files.digest import instance_digest
    from gemopt.run import registry

    for name in solvers:
        if name != "auto":
            registry.entry(name)
    target = Path(path)
    digests = {name: instance_digest(each) for name, each in instances.items()}
    limits = (time_limit, iterations, unseen, bound_effort)
    tasks = [
        Task(name, digests[name], solver, params.get(solver, {}), seed, *limits)
        for name in instances
        for solver in solvers
        for seed in seeds
    ]
    header = machine(jobs)
    with Journal(target) as journal:
        stored = _runs(target, journal.entries)
        known = {run_key(run) for run in stored if not run.get("fault")}
        todo = [task for task in tasks if run_key(asdict(task)) not in known]
        for run in _results(todo, instances, jobs):
            if run.get("stop_reason") == StopReason.INTERRUPTED:
                raise KeyboardInterrupt
            run["best_known_us"] = best_known.get(run["instance"])
            journal.add({**run, "machine": header})
            done(run)
    return len(todo)


def _results(
    todo: Sequence[Task], instances: Mapping[str, Instance], jobs: int
) -> Iterable[dict[str, Any]]:
    if jobs == 1:
        return (run_task(task, instances[task.instance]) for task in todo)
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator", inner_max_num_threads=1)
    work = (delayed(run_task)(task, instances[task.instance]) for task in todo)
    return parallel(work)


def run_task(task: Task, instance: Instance) -> dict[str, Any]:
    """Make one run and return its record; a refusal and a fault are records too."""
    from gemopt.cost.evaluate import evaluate
    from gemopt.run.solve import solve
    from gemopt.study.warm import warm

    seen, later = instance, None
    if task.unseen is not None:
        seen, later = instance.split(1 - task.unseen)
    record: dict[str, Any] = asdict(task)
    began = time.time()
    try:
        warm(seen, task.solver, task.params)
        result = solve(
            seen,
            task.solver,
            params=dict(task.params) or None,
            seed=task.seed,
            time_limit=task.time_limit,
            iterations=task.iterations,
            bound_effort=task.bound_effort,
        )
    except ValueError as error:
        return {**record, "error": str(error), "started": began}
    except Exception as error:  # somebody else's solver; the other runs go on
        text = f"{type(error).__name__}: {error}"
        return {**record, "error": text, "fault": True, "started": began}
    unseen_us = None
    if later is not None and result.placement is not None:
        unseen_us = evaluate(later, result.placement).objective
    return {
        **record,
        "started": began,
        "status": str(result.status),
        "stop_reason": str(result.stop_reason),
        "objective_us": finite(result.objective),
        "bound_us": finite(result.lower_bound),
        "unseen_us": unseen_us,
        "seconds": result.seconds,
        "iterations_done": result.iterations,
        "trace": [[p.elapsed, finite(p.best)] for p in result.trace.points],
    }


def finite(value: float) -> float | None:
    """None for numbers that JSON does not know."""
    return value if math.isfinite(value) else None


def read_runs(path: str | Path) -> list[dict[str, Any]]:
    """Read a run file; of a run that was repeated the last line counts.

    Raises
    ------
    ValueError
        A line is no run; the message names file and line.
    OSError
        The file cannot be read.
    """
    return _runs(Path(path), read_entries(path))


def _runs(path: Path, entries: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the last run of each key when all `entries` of a file are runs."""
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, run in enumerate(entries, 1):
        try:
            runs[run_key(run)] = run
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no run: {error}") from error
    return list(runs.values())


def run_key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a run the same run."""
    values = (run[name] for name in Task.__dataclass_fields__)
    return tuple(
        json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else value
        for value in values
    )
