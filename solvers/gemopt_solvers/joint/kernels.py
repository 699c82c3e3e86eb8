"""Swaps of one layer judged by compute plus estimated communication."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemopt.cost.move_kernels import State, apply_swap, swap_objective
from gemopt.cost.sum_kernels import weighted_sum
from gemopt.cost.traffic_kernels import reach
from gemopt.jit import kernel
from gemopt.latency.tables import LatencyTables

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Groups(NamedTuple):
    """Groups of slots (GPUs, or hosts) and the tokens that need them.

    The time of a group at a step is ``us * ratio * tokens``: a share of the group's
    picks is saved because a token needs the group only once.
    """

    slot2group: Ints  # [slots]
    picks: Floats  # [groups] mean picks of a token in the group
    pair: Floats  # [groups] mean ordered pairs of different picks in it
    ratio: Floats  # [groups] tokens over picks
    tokens: Floats  # [groups, steps] picks of each step
    near_us: Floats  # [groups] us per token on the near link
    far_us: Floats  # [groups] us per token on the far link


class Traffic(NamedTuple):
    """What the communication of one layer depends on."""

    gpus: Groups
    hosts: Groups  # used only under a hierarchical all-to-all
    share: Floats  # [experts, experts] share of tokens that chose both; 0 on diagonal
    chosen: Floats  # [experts] share of tokens that chose the expert
    top_k: int
    start_us: float
    overlap: float
    hierarchical: bool
    scratch: Floats  # [6, steps]


@kernel
def fill_groups(traffic: Traffic, groups: Groups, state: State) -> None:
    """Compute picks, pairs, ratios and tokens of all groups from the placement."""
    groups.picks[:] = 0.0
    groups.pair[:] = 0.0
    groups.tokens[:] = 0.0
    slots = state.phy2log.shape[0]
    for s in range(slots):
        group, e = groups.slot2group[s], state.phy2log[s]
        groups.picks[group] += traffic.chosen[e] / state.replicas[e]
        for t in range(groups.tokens.shape[1]):
            groups.tokens[group, t] += state.shares[e, t]
        for other in range(slots):
            if groups.slot2group[other] == group:
                f = state.phy2log[other]
                both = state.replicas[e] * state.replicas[f]
                groups.pair[group] += traffic.share[e, f] / both
    for g in range(groups.picks.shape[0]):
        groups.ratio[g] = ratio_of(groups.picks[g], groups.pair[g], traffic.top_k)


@kernel
def ratio_of(picks: float, pair: float, top_k: int) -> float:
    """Tokens that need a group over the picks that they make in it."""
    if picks <= 0.0:
        return 1.0
    return reach(picks / top_k, pair, top_k) / picks


@kernel
def pair_change(
    traffic: Traffic, groups: Groups, state: State, group: int, out: int, into: int
) -> float:
    """Change of a group's pairs when expert `out` gives way to `into` in one slot."""
    change = 0.0
    skipped = False
    copies_out, copies_in = state.replicas[out], state.replicas[into]
    for s in range(state.phy2log.shape[0]):
        if groups.slot2group[s] != group:
            continue
        f = state.phy2log[s]
        if f == out and not skipped:
            skipped = True
            continue
        new = traffic.share[into, f] / copies_in - traffic.share[out, f] / copies_out
        change += 2.0 * new / state.replicas[f]
    return change


@kernel
def largest_into(
    groups: Groups,
    state: State,
    expert_a: int,
    expert_b: int,
    group_a: int,
    group_b: int,
    ratio_a: float,
    ratio_b: float,
    near: np.ndarray,  # [steps] us, written
    far: np.ndarray,  # [steps] us, written
) -> None:
    """Write the largest group times after groups a and b exchanged their experts."""
    count, steps = groups.tokens.shape
    near[:] = 0.0
    far[:] = 0.0
    for g in range(count):
        ratio = groups.ratio[g]
        sign = 0.0
        if group_a != group_b and g == group_a:
            ratio, sign = ratio_a, 1.0
        elif group_a != group_b and g == group_b:
            ratio, sign = ratio_b, -1.0
        near_us, far_us = groups.near_us[g] * ratio, groups.far_us[g] * ratio
        for t in range(steps):
            moved = sign * (state.shares[expert_b, t] - state.shares[expert_a, t])
            tokens = groups.tokens[g, t] + moved
            here = near_us * tokens
            near[t] = here if here > near[t] else near[t]
            there = far_us * tokens
            far[t] = there if there > far[t] else far[t]


@kernel
def communication_into(
    traffic: Traffic, state: State, slot_a: int, slot_b: int, out: np.ndarray
) -> None:
    """Write the time of communication at each step after a swap of two slots.

    Equal slots (`slot_a` == `slot_b`) give the time without a swap.
    """
    gpus, hosts = traffic.gpus, traffic.hosts
    a, b = state.phy2log[slot_a], state.phy2log[slot_b]
    near, far = traffic.scratch[0], traffic.scratch[1]
    gpu_a, gpu_b = gpus.slot2group[slot_a], gpus.slot2group[slot_b]
    ratio_a, ratio_b = swapped_ratios(traffic, gpus, state, slot_a, slot_b)
    largest_into(gpus, state, a, b, gpu_a, gpu_b, ratio_a, ratio_b, near, far)
    if not traffic.hierarchical:
        for t in range(out.shape[0]):
            longer = near[t] if near[t] > far[t] else far[t]
            out[t] = traffic.start_us + longer
        return
    far, unused = traffic.scratch[2], traffic.scratch[3]
    host_a, host_b = hosts.slot2group[slot_a], hosts.slot2group[slot_b]
    ratio_a, ratio_b = swapped_ratios(traffic, hosts, state, slot_a, slot_b)
    largest_into(hosts, state, a, b, host_a, host_b, ratio_a, ratio_b, unused, far)
    for t in range(out.shape[0]):
        out[t] = traffic.start_us + near[t] + far[t]


@kernel
def swapped_ratios(
    traffic: Traffic, groups: Groups, state: State, slot_a: int, slot_b: int
) -> tuple[float, float]:
    """Ratios of the two groups of a swap after it."""
    group_a, group_b = groups.slot2group[slot_a], groups.slot2group[slot_b]
    a, b = state.phy2log[slot_a], state.phy2log[slot_b]
    if group_a == group_b or a == b:
        return groups.ratio[group_a], groups.ratio[group_b]
    moved = (
        traffic.chosen[b] / state.replicas[b] - traffic.chosen[a] / state.replicas[a]
    )
    pair_a = groups.pair[group_a] + pair_change(traffic, groups, state, group_a, a, b)
    pair_b = groups.pair[group_b] + pair_change(traffic, groups, state, group_b, b, a)
    return (
        ratio_of(groups.picks[group_a] + moved, pair_a, traffic.top_k),
        ratio_of(groups.picks[group_b] - moved, pair_b, traffic.top_k),
    )


@kernel
def total_after(
    tables: LatencyTables, state: State, traffic: Traffic, slot_a: int, slot_b: int
) -> float:
    """Objective in us, compute and communication, after a swap of two slots."""
    swap_objective(tables, state, slot_a, slot_b)
    compute = traffic.scratch[4]
    same = state.slot2gpu[slot_a] == state.slot2gpu[slot_b]
    same = same or state.phy2log[slot_a] == state.phy2log[slot_b]
    compute[:] = state.top[0] if same else state.scratch[0]
    communication = traffic.scratch[5]
    communication_into(traffic, state, slot_a, slot_b, communication)
    for t in range(compute.shape[0]):
        shorter = compute[t] if compute[t] < communication[t] else communication[t]
        compute[t] += communication[t] - traffic.overlap * shorter
    return weighted_sum(state.weights, compute)


@kernel
def fill_traffic(traffic: Traffic, state: State) -> None:
    """Bring every derived array of `traffic` up to date with the placement."""
    fill_groups(traffic, traffic.gpus, state)
    if traffic.hierarchical:
        fill_groups(traffic, traffic.hosts, state)


@kernel
def holds(state: State, gpu: int, expert: int) -> bool:
    """Tell whether a GPU holds a copy of `expert`."""
    for s in range(state.phy2log.shape[0]):
        if state.slot2gpu[s] == gpu and state.phy2log[s] == expert:
            return True
    return False


@kernel
def descend_slot(
    tables: LatencyTables, state: State, traffic: Traffic, slot: int, current: float
) -> float:
    """Apply the best improving swap of `slot` with a later slot, if there is one."""
    best, partner = current - 1e-9 * current, -1
    for other in range(slot + 1, state.phy2log.shape[0]):
        gpu, there = state.slot2gpu[slot], state.slot2gpu[other]
        e, f = state.phy2log[slot], state.phy2log[other]
        if gpu == there or e == f:
            continue
        if state.replicas[e] > 1 and holds(state, there, e):
            continue
        if state.replicas[f] > 1 and holds(state, gpu, f):
            continue
        value = total_after(tables, state, traffic, slot, other)
        if value < best:
            best, partner = value, other
    if partner < 0:
        return current
    apply_swap(tables, state, slot, partner)
    fill_traffic(traffic, state)
    return total_after(tables, state, traffic, slot, slot)
