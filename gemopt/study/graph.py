"""Graphs of experts: busy at the same step, or chosen by the same token.

**Co-load** edges say which experts should sit apart, since they burst together and make
a straggler; **co-activation** edges say which should sit together, since a token that
needs both then travels once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.model.pairs import PairCounter

if TYPE_CHECKING:
    import networkx as nx
    from scipy.sparse import csr_array

    from gemopt.model.instance import Instance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ExpertGraph:
    """Weighted edges between the experts of each layer.

    Attributes
    ----------
    kind
        ``"co-load"``, ``"co-activation"`` or ``"co-activation-next"`` (edges lead from
        a layer to the next one).
    weight
        Edge weights, float64 ``[layers, experts, experts]``: correlation of loads, or
        observed over independent expectation minus 1 (lift).
    z
        Distance of each weight from independence in standard errors, same shape.
    load
        Mean tokens of each expert and step (co-load) or tokens in all (co-activation),
        float64 ``[layers, experts]``; of the edges' first layer.
    layer_ids
        Index of each layer in the model.
    """

    kind: str
    weight: Floats
    z: Floats
    load: Floats
    layer_ids: Ints

    def sparse(self, layer: int, min_z: float = 3.0) -> csr_array[Any, Any]:
        """Edges of one layer with ``|z| >= min_z`` as a sparse array."""
        from scipy.sparse import csr_array

        keep = np.abs(self.z[layer]) >= min_z
        if self.kind != "co-activation-next":
            keep &= ~np.eye(len(keep), dtype=bool)
        return csr_array(np.where(keep, self.weight[layer], 0.0))

    def to_networkx(self, layer: int, min_z: float = 3.0) -> nx.Graph[Any]:
        """Edges of one layer with ``|z| >= min_z`` as a networkx graph.

        Nodes are expert ids as strings with attribute ``load``, edges carry ``weight``
        and ``z``.
        Edges between layers make a directed graph of nodes ``"l:e"``.
        """
        import networkx as nx

        edges = self.sparse(layer, min_z).tocoo()
        rows, columns = edges.coords
        if self.kind == "co-activation-next":
            graph: nx.Graph[Any] = nx.DiGraph()
            here, there = self.layer_ids[layer], self.layer_ids[layer + 1]
            names = [(f"{here}:{e}", f"{there}:{e}") for e in range(len(self.z[layer]))]
            for first, second in names:
                graph.add_node(first)
                graph.add_node(second)
        else:
            graph = nx.Graph()
            names = [(str(e), str(e)) for e in range(len(self.z[layer]))]
            for (name, _), load in zip(names, self.load[layer], strict=True):
                graph.add_node(name, load=float(load))
        for e, f, weight in zip(rows, columns, edges.data, strict=True):
            z = float(self.z[layer, e, f])
            graph.add_edge(names[e][0], names[f][1], weight=float(weight), z=z)
        return graph

    def write_graphml(
        self, path: str | os.PathLike[str], layer: int, min_z: float = 3.0
    ) -> None:
        """Write one layer as GraphML."""
        import networkx as nx

        nx.write_graphml(self.to_networkx(layer, min_z), os.fspath(path))


def co_load(instance: Instance) -> ExpertGraph:
    """Correlation of expert loads over the steps of each layer, step weights respected.

    Loads are taken as shares of their step, so that large and small steps compare. The
    z score is Fisher's: ``atanh(r) * sqrt(steps - 3)``.
    """
    layers, experts, steps = instance.loads.shape
    total = np.maximum(instance.step_tokens, 1)
    weights = instance.weights / instance.weights.sum()
    weight = np.zeros((layers, experts, experts))
    for layer in range(layers):
        share = instance.loads[layer] / total[layer]
        centred = share - (share @ weights)[:, None]
        covariance = (centred * weights) @ centred.T
        sd = np.sqrt(np.diagonal(covariance))
        scale = np.outer(sd, sd)
        np.divide(covariance, scale, out=weight[layer], where=scale > 0)
    weight = np.clip(weight, -1.0, 1.0)
    inner = np.clip(weight, -1 + 1e-12, 1 - 1e-12)
    z = np.arctanh(inner) * np.sqrt(max(steps - 3, 1))
    load = np.asarray(instance.loads @ weights)
    return ExpertGraph("co-load", weight, z, load, instance.layer_ids)


def co_activation(
    chunks: Iterable[ArrayLike],
    *,
    num_layers: int,
    num_experts: int,
    layer_ids: ArrayLike | None = None,
) -> tuple[ExpertGraph, ExpertGraph]:
    """Graphs of experts chosen by the same token, from one pass over token ids.

    Parameters
    ----------
    chunks
        Arrays ``[tokens, layers, top_k]`` of expert ids, in any order.
    num_layers, num_experts
        Sizes of the routing.
    layer_ids
        Index of each layer in the model; None means 0, 1, 2...

    Returns
    -------
    tuple of ExpertGraph
        Within each layer, and from each layer to the next one (as in ExFlow, arXiv
        2401.08383). Weights are lifts: observed / expected - 1, where independent
        choices with the same shares are expected.
    """
    counter = PairCounter(num_layers, num_experts, between_layers=True)
    for chunk in chunks:
        counter.add(chunk)
    ids = np.arange(num_layers) if layer_ids is None else np.asarray(layer_ids)
    chosen = np.diagonal(counter.same_layer, axis1=1, axis2=2).astype(np.float64)
    tokens = max(counter.tokens, 1)
    # A token never takes an expert twice: its further picks avoid the first one.
    picks = chosen.sum(axis=1) / tokens
    room = np.divide(picks - 1, picks, out=np.zeros_like(picks), where=picks > 0)
    share = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
    apart = 1.0 - (share**2).sum(axis=1)
    fix = np.divide(room, apart, out=np.zeros_like(room), where=apart > 0)
    same = chosen[:, :, None] * chosen[:, None, :] / tokens * fix[:, None, None]
    follow = chosen[:-1, :, None] * chosen[1:, None, :] / tokens
    within = _lift("co-activation", counter.same_layer, same, tokens, chosen, ids)
    between = _lift(
        "co-activation-next", counter.next_layer, follow, tokens, chosen[:-1], ids
    )
    return within, between


def _lift(
    kind: str, seen: Ints, expected: Floats, tokens: int, load: Floats, ids: Ints
) -> ExpertGraph:
    share = np.clip(expected / tokens, 0.0, 1.0)
    spread = np.sqrt(expected * (1.0 - share))
    some = expected > 0
    weight = np.divide(seen - expected, expected, out=np.zeros_like(share), where=some)
    z = np.divide(seen - expected, spread, out=np.zeros_like(share), where=spread > 0)
    return ExpertGraph(kind, weight, z, load, ids)


def draw(
    graph: ExpertGraph,
    layer: int,
    path: str | os.PathLike[str],
    *,
    min_z: float = 3.0,
    max_edges: int = 200,
) -> None:
    """Draw the strongest positive edges of one layer; needs matplotlib.

    Nodes grow with the expert's load; the layout pulls connected experts together.
    """
    import networkx as nx
    from matplotlib.figure import Figure

    whole = graph.to_networkx(layer, min_z)
    edges = [(a, b, d) for a, b, d in whole.edges(data=True) if d["weight"] > 0]
    edges.sort(key=lambda edge: -edge[2]["z"])
    shown: nx.Graph[Any] = nx.Graph()
    shown.add_nodes_from(whole.nodes(data=True))
    shown.add_edges_from(edges[:max_edges])
    place = nx.spring_layout(shown, seed=0, weight="weight")
    figure = Figure(figsize=(7, 7))
    axes = figure.subplots()
    loads = np.array([d.get("load", 1.0) for _, d in shown.nodes(data=True)])
    nx.draw_networkx(
        shown,
        place,
        ax=axes,
        node_size=80 + 500 * loads / max(loads.max(), 1e-9),
        width=[0.5 + d["weight"] for _, _, d in shown.edges(data=True)],
        font_size=7,
        edge_color="0.6",
    )
    axes.set_title(f"{graph.kind}, layer {graph.layer_ids[layer]}")
    axes.set_axis_off()
    figure.savefig(path, dpi=120)
