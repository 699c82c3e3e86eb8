"""Straggler time against traffic: what a solver finds as communication costs more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gemopt.cost.evaluate import Evaluation, evaluate
from gemopt.model.topology import Link, Topology
from gemopt.run.solve import solve

if TYPE_CHECKING:
    from gemopt.model.instance import Instance

#: Factors on the cost of communication while solving; 0 leaves it out.
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def weighted(instance: Instance, weight: float) -> Instance:
    """Return `instance` with communication that costs `weight` times as much.

    Raises
    ------
    ValueError
        The instance has no communication, or the weight is negative.
    """
    comm = instance.comm
    if comm is None:
        raise ValueError(f"instance {instance.name!r} has no communication to weigh")
    if weight < 0:
        raise ValueError(f"weight = {weight} must be >= 0")
    if weight == 0:
        return instance.without_communication()
    topology = Topology(
        _scaled(comm.topology.intra, weight),
        _scaled(comm.topology.inter, weight),
        comm.topology.hierarchical,
    )
    return replace(instance, comm=replace(comm, topology=topology))


def _scaled(link: Link, weight: float) -> Link:
    return Link(link.alpha_us * weight, link.gb_per_s / weight)


def pareto(
    instance: Instance,
    solvers: Sequence[str],
    *,
    weights: Sequence[float] = WEIGHTS,
    unseen: float = 0.5,
    time_limit: float | None = None,
    iterations: int | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> list[dict[str, Any]]:
    """Solve under several weights of communication; judge at weight 1, unseen.

    Parameters
    ----------
    instance
        With communication.
    solvers
        Names. A solver that cannot take a weight (as `cluster` without communication
        takes only one mode) has no row there.
    weights
        Factors on the cost of communication that the solver sees.
    unseen
        Share of the steps, at the end, that no solver sees.
    time_limit, iterations, seed, jobs
        As in `gemopt.solve`.

    Returns
    -------
    list of dict
        One row per solver and weight: straggler and communication time in us, tokens
        sent within and between hosts, total objective in us on unseen steps, and
        whether no other row has both less straggler time and less communication.

    Raises
    ------
    ValueError
        The instance has no communication.
    """
    seen, later = instance.split(1.0 - unseen)
    rows: list[dict[str, Any]] = []
    for name in solvers:
        for weight in weights:
            try:
                result = solve(
                    weighted(seen, weight),
                    name,
                    time_limit=time_limit,
                    iterations=iterations,
                    seed=seed,
                    jobs=jobs,
                )
            except ValueError:
                if seen.comm is None:
                    raise
                continue
            if result.placement is None:
                continue
            cost = evaluate(later, result.placement)
            facts = {"solver": name, "weight": weight, "seconds": result.seconds}
            rows.append({**facts, **_judged(cost)})
    for row in rows:
        row["efficient"] = not any(
            other["straggler_us"] < row["straggler_us"]
            and other["communication_us"] < row["communication_us"]
            for other in rows
        )
    return rows


def _judged(cost: Evaluation) -> dict[str, float]:
    """Weighted sums over steps and layers of one evaluation."""
    traffic = cost.communication
    if traffic is None:
        raise ValueError("the instance has no communication to judge")
    near, far = (
        float((cost.weights @ part).sum())
        for part in (traffic.intra_tokens, traffic.inter_tokens)
    )
    return {
        "total_us": cost.objective,
        "straggler_us": cost.straggler_us,
        "communication_us": cost.communication_us,
        "intra_tokens": near,
        "inter_tokens": far,
    }


def draw_pareto(rows: Sequence[dict[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw straggler time against communication time; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 5))
    axes = figure.subplots()
    for name in dict.fromkeys(row["solver"] for row in rows):
        mine = [row for row in rows if row["solver"] == name]
        across = [row["communication_us"] / 1e3 for row in mine]
        up = [row["straggler_us"] / 1e3 for row in mine]
        axes.plot(across, up, marker="o", label=name)
        for x, y, row in zip(across, up, mine, strict=True):
            axes.annotate(f"{row['weight']:g}", (x, y), fontsize=7)
    axes.set_xlabel("communication, ms on unseen steps")
    axes.set_ylabel("straggler, ms on unseen steps")
    axes.set_title("numbers: weight of communication while solving")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
