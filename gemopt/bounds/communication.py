"""The least time that the all-to-all of a step takes under any placement.

**Per-token ids.** A token of k experts that finds h of them at home (on GPUs that it
reaches without the link in question) needs at least ``cover(k - h)`` further groups,
where c slots a group, largest first, hold the rest. This falls with h, so its largest
convex function below, at the mean of h over tokens, bounds the mean over tokens
(Jensen), and any upper bound on the hits will do for h: GPU g holds at most slots_g
experts, so no more than the slots_g largest of ``tokens from g that chose e``; without
replicas an expert is at home on one GPU only. The busiest GPU sends, and receives, at
least the mean; without replicas it also receives all tokens of any one expert that do
not start there.

**Pair counts.** The estimate never takes a group for less than one token in `top_k`
picks, so hits sum to at least ``picks / top_k``; the largest of the groups' times
``rate_g * hits_g`` is then at least ``sum(hits) / sum(1 / rate_g)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.cost.evaluate import combined
from gemopt.cost.rates import rates
from gemopt.cost.traffic import Links, links
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.model.tokens import TokenRouting

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CommunicationBound:
    """Least time of communication, to be joined with bounds on compute.

    Attributes
    ----------
    us
        At every step, float64 ``[layers, steps]``; zeros without communication.
    weights
        Weight of each step ``[steps]``.
    overlap
        Of the instance's communication.
    """

    us: Floats
    weights: Floats
    overlap: float

    def with_steps(self, layer: int, compute: Floats) -> float:
        """Bound on a layer from bounds on the compute of each step, us ``[steps]``.

        The joint time of a step grows with each of its two parts.
        """
        return float(combined(compute, self.us[layer], self.overlap) @ self.weights)

    def with_sum(self, layer: int, compute: float) -> float:
        """Bound on a layer from a bound on its compute over all steps, us.

        Compute m and communication c take at least ``m + (1 - overlap) c`` together.
        """
        return compute + (1.0 - self.overlap) * float(self.us[layer] @ self.weights)


def communication_bound(instance: Instance) -> CommunicationBound:
    """Bound the all-to-all of every layer and step from below."""
    us = np.zeros((instance.num_layers, instance.num_steps))
    comm = instance.comm
    if comm is None:
        return CommunicationBound(us, instance.weights, 0.0)
    if instance.num_gpus > 1:
        if comm.routing is None:
            us[:] = _estimated(instance, comm)
        else:
            link = links(instance.node, comm)
            for layer in range(instance.num_layers):
                us[layer] = _counted(instance, comm.routing, link, layer)
    return CommunicationBound(us, instance.weights, comm.overlap)


def cover(capacity: Ints, experts: int) -> Ints:
    """Least number of groups that hold j experts, int64 ``[experts + 1]``."""
    held = np.cumsum(np.sort(capacity)[::-1])
    return np.searchsorted(held, np.arange(experts + 1)) + (np.arange(experts + 1) > 0)


def convex_below(values: Ints) -> Floats:
    """Largest convex function below `values` at 0, 1, 2..., float64, same length."""
    hull: list[int] = []
    for x in range(len(values)):
        while len(hull) > 1:
            a, b = hull[-2:]
            rise = (values[b] - values[a]) * (x - a)
            if rise < (values[x] - values[a]) * (b - a):
                break
            hull.pop()
        hull.append(x)
    return np.interp(np.arange(len(values)), hull, values[hull])


def away(tokens: Floats, hits: Floats, further: Floats) -> Floats:
    """Least groups that `tokens` need beyond home, with at most `hits` at home.

    Parameters
    ----------
    tokens, hits
        Tokens, and expert choices found at home, of one shape.
    further
        Groups needed by a token with 0, 1, ... hits: falling and convex.
    """
    mean = np.divide(hits, tokens, out=np.zeros_like(tokens), where=tokens > 0)
    return np.asarray(tokens * np.interp(mean, np.arange(len(further)), further))


def home_hits(chosen: Floats, capacity: Ints) -> Floats:
    """Most expert choices found at home in each group, ``[steps, groups]``.

    Parameters
    ----------
    chosen
        Tokens of each group's home that chose each expert ``[steps, experts, groups]``.
    capacity
        Slots of each group ``[groups]``.
    """
    ordered = -np.sort(-chosen, axis=1)
    kept = np.arange(chosen.shape[1])[:, None] < capacity
    return np.asarray((ordered * kept).sum(axis=1))


def _counted(
    instance: Instance, routing: TokenRouting, link: Links, layer: int
) -> Floats:
    """Bound of one layer from token ids, us ``[steps]``."""
    gpus, slots = instance.num_gpus, instance.slots
    chosen, tokens = _sources(instance, routing, layer)
    single = instance.num_slots == instance.num_experts
    size = np.bincount(link.node)
    room = np.bincount(link.node, weights=slots).astype(np.int64)
    on_host = np.eye(len(size))[link.node]  # [gpus, hosts]
    by_host, host_tokens = chosen @ on_host, tokens @ on_host
    top_k = routing.top_k
    to_gpus = convex_below(cover(slots, top_k)[::-1])
    all_tokens = tokens.sum(axis=1)

    def spread(home: Floats) -> Floats:
        """Tokens that the busiest GPU receives from beyond the GPUs' homes."""
        hits = home_hits(home, slots).sum(axis=1)
        if single:
            hits = np.minimum(hits, home.max(axis=2).sum(axis=1))
        mean = away(all_tokens, hits, to_gpus) / gpus
        return np.maximum(mean, _hottest(chosen, home)) if single else mean

    if len(size) == 1:
        hits = home_hits(chosen, slots)
        sent = away(tokens, hits, to_gpus).max(axis=1)
        near = np.ceil(np.maximum(spread(chosen), sent) - 1e-9)
        return np.asarray(link.start_us + near * link.intra_us)
    hits = home_hits(by_host, room)
    if not link.hierarchical:
        sent = (away(host_tokens, hits, to_gpus) / size).max(axis=1)
        if single:
            sent = np.maximum(sent, _hottest(chosen, by_host))
        far = np.ceil(sent - 1e-9) * link.inter_us
        both = 1.0 / link.intra_us + 1.0 / link.inter_us
        mean = away(all_tokens, home_hits(chosen, slots).sum(axis=1), to_gpus) / gpus
        return np.asarray(link.start_us + np.maximum(far, mean / both))
    to_hosts = convex_below(cover(room, top_k)[::-1])
    sent = (away(host_tokens, hits, to_hosts) / size).max(axis=1)
    if single:
        beyond = (chosen.sum(axis=2)[:, :, None] - by_host) / size
        sent = np.maximum(sent, beyond.min(axis=2).max(axis=1))
    senders = np.zeros((gpus, gpus))  # [origin, GPU of a host that sends for it]
    for origin in range(gpus):
        senders[origin, link.relay[:, origin]] = 1.0
        senders[origin, link.relay[link.node[origin], origin]] = 0.0
        senders[origin, origin] = 1.0
    near = np.ceil(spread(chosen @ senders) - 1e-9)
    far = np.ceil(sent - 1e-9)
    return np.asarray(link.start_us + near * link.intra_us + far * link.inter_us)


def _hottest(chosen: Floats, home: Floats) -> Floats:
    """Tokens of the worst expert that must reach its GPU, without replicas [steps]."""
    return np.asarray((chosen.sum(axis=2) - home.max(axis=2)).max(axis=1))


def _sources(
    instance: Instance, routing: TokenRouting, layer: int
) -> tuple[Floats, Floats]:
    """Tokens by step, expert and start; and by step and start ``[steps, gpus]``."""
    gpus, experts = instance.num_gpus, instance.num_experts
    steps = routing.num_steps
    start = routing.starts(gpus)
    step = np.repeat(np.arange(steps), np.diff(routing.step_offsets))
    place = step * gpus + start
    tokens = np.bincount(place, minlength=steps * gpus).reshape(steps, gpus)
    ids = routing.expert_ids[:, layer].astype(np.int64)
    cell = (step[:, None] * experts + ids) * gpus + start[:, None]
    chosen = np.bincount(cell.ravel(), minlength=steps * experts * gpus)
    shape = (steps, experts, gpus)
    return chosen.reshape(shape).astype(np.float64), tokens.astype(np.float64)


def _estimated(instance: Instance, comm: Communication) -> Floats:
    """Bound on the estimate from pair counts, us ``[layers, steps]``."""
    link, per_token = links(instance.node, comm), rates(instance, comm)
    picks = np.diagonal(comm.pairs, axis1=1, axis2=2).sum(axis=1)
    least = 1.0 / np.maximum(picks, comm.top_k)  # tokens of a group over its picks
    hits = instance.step_tokens * least[:, None]
    groups = [per_token.gpus.near_us, per_token.gpus.far_us]
    if link.hierarchical:
        groups.append(per_token.hosts.far_us)
    near, *far = (_even(rate) * hits for rate in groups)
    if link.hierarchical:
        return np.asarray(link.start_us + near + far[-1])
    return np.asarray(link.start_us + np.maximum(near, far[0]))


def _even(rate: Floats) -> float:
    """Least of ``max(rate * hits)`` over hits that sum to 1."""
    return 0.0 if (rate <= 0).any() else float(1.0 / (1.0 / rate).sum())
