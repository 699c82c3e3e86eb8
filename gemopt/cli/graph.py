"""``gemopt graph``: which experts are busy, or chosen, together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemopt.cli.common import (
    InstanceArg,
    InstancesOption,
    JsonOption,
    print_json,
    print_table,
    require_writable,
)

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.study.graph import ExpertGraph


def command(
    instance: InstanceArg,
    kind: Annotated[
        str, typer.Option(help="co-load, co-activation or co-activation-next.")
    ] = "co-load",
    layer: Annotated[int, typer.Option(help="Row of the layer.")] = 0,
    min_z: Annotated[
        float, typer.Option(help="Least distance from independence, standard errors.")
    ] = 3.0,
    graphml: Annotated[
        Path | None, typer.Option(help="Write the edges as GraphML.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the graph to this file.")
    ] = None,
    top: Annotated[int, typer.Option(help="Edges to print.")] = 10,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the graph of a layer: who bursts together, whom tokens choose together."""
    require_writable(graphml, "--graphml")
    require_writable(picture, "--picture")
    from gemopt.files.catalog import load

    problem = load(instance, instances)
    if not 0 <= layer < problem.num_layers - (kind == "co-activation-next"):
        raise ValueError(f"--layer = {layer} is not below {problem.num_layers}")
    graph = _graph(problem, kind)
    if graphml is not None:
        graph.write_graphml(graphml, layer, min_z)
    if picture is not None:
        from gemopt.study.graph import draw

        draw(graph, layer, picture, min_z=min_z)
    edges = [
        {"a": a, "b": b, "weight": data["weight"], "z": data["z"]}
        for a, b, data in graph.to_networkx(layer, min_z).edges(data=True)
    ]
    edges.sort(key=lambda edge: -edge["z"])
    if as_json:
        print_json({"kind": kind, "layer": layer, "edges": edges})
        return 0
    print(
        f"{kind}, layer {graph.layer_ids[layer]}: {len(edges)} edges, |z| >= {min_z:g}"
    )
    print_table(
        ["experts", "weight", "z"],
        [
            [f"{e['a']} {e['b']}", f"{e['weight']:+.3f}", f"{e['z']:+.1f}"]
            for e in edges
        ][:top],
    )
    return 0


def _graph(problem: Instance, kind: str) -> ExpertGraph:
    """The graph of all layers."""
    from gemopt.study.graph import co_activation, co_load

    if kind == "co-load":
        return co_load(problem)
    if kind not in ("co-activation", "co-activation-next"):
        known = "co-load, co-activation, co-activation-next"
        raise ValueError(f"--kind = {kind!r} is unknown; known: {known}")
    if problem.comm is None or problem.comm.routing is None:
        raise ValueError(
            f"{kind} needs per-token ids; build the instance with --links from them"
        )
    within, between = co_activation(
        [problem.comm.routing.expert_ids],
        num_layers=problem.num_layers,
        num_experts=problem.num_experts,
        layer_ids=problem.layer_ids,
    )
    return within if kind == "co-activation" else between
