"""Small routed instances for the tests of communication."""

import numpy as np

from gemopt.latency import affine
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.model.tokens import TokenRouting
from gemopt.model.topology import Link, Topology


def routed(
    seed: int,
    *,
    gpus: int = 4,
    node: list[int] | None = None,
    slots: int = 8,
    experts: int = 8,
    tokens: int = 12,
    steps: int = 3,
    layers: int = 2,
    hierarchical: bool = False,
    source: bool = False,
    overlap: float = 0.0,
) -> Instance:
    """Random token ids (two experts a token) on affine GPUs."""
    rng = np.random.default_rng(seed)
    chosen = rng.random((steps * tokens, layers, experts)).argsort(axis=2)[:, :, :2]
    starts = rng.integers(gpus, size=steps * tokens) if source else None
    routing = TokenRouting.from_arrays(
        chosen, np.arange(steps + 1) * tokens, source=starts
    )
    comm = Communication.from_routing(
        routing,
        Topology(Link(5.0, 100.0), Link(20.0, 20.0), hierarchical=hierarchical),
        num_experts=experts,
        hidden=4096,
        overlap=overlap,
    )
    return Instance.from_arrays(
        routing.counts(experts),
        [affine(60, 0.5 + 0.1 * g) for g in range(gpus)],
        slots=[slots // gpus] * gpus,
        node=node,
        comm=comm,
    )


def random_placement(instance: Instance, seed: int) -> Placement:
    """Any feasible placement: rows rotated so that no GPU holds an expert twice."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(instance.num_layers):
        order = rng.permutation(instance.num_experts)
        rows.append(order[np.arange(instance.num_slots) % instance.num_experts])
    return Placement(np.array(rows), instance.slots)
