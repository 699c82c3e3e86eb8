"""Sets of experts, and the tokens that each of them draws to whoever holds it."""

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.traffic import Links
from gemopt.model.instance import Instance
from gemopt.model.tokens import TokenRouting


class Sets(NamedTuple):
    """Sets of experts of one size, and what they draw to whoever holds them."""

    member: Ints  # [sets, size]
    tokens: Ints  # [sets, steps, gpus] tokens of each start with an expert in the set


def all_sets(routing: TokenRouting, instance: Instance, layer: int, size: int) -> Sets:
    """All sets of a size, and the tokens that need each of them."""
    gpus, experts = instance.num_gpus, instance.num_experts
    member = np.array(list(combinations(range(experts), size)), dtype=np.int64)
    member = member.reshape(comb(experts, size), size)
    step = np.repeat(np.arange(routing.num_steps), np.diff(routing.step_offsets))
    place = step * gpus + routing.starts(gpus)
    chosen = np.zeros((experts, len(place)), dtype=bool)
    ids = routing.expert_ids[:, layer].astype(np.int64)
    chosen[ids, np.arange(len(place))[:, None]] = True
    tokens = np.empty((len(member), routing.num_steps * gpus), dtype=np.int64)
    for i, held in enumerate(member):
        needed = chosen[held].any(axis=0)
        tokens[i] = np.bincount(place[needed], minlength=tokens.shape[1])
    return Sets(member, tokens.reshape(len(member), routing.num_steps, gpus))


def count_terms(instance: Instance, link: Links) -> float:
    """About how many coefficients the model of a layer has."""
    gpus, experts = instance.num_gpus, instance.num_experts
    sets = sum(comb(experts, int(k)) for k in instance.slots)
    if link.hierarchical:
        room = np.bincount(link.node, weights=instance.slots).astype(int)
        sets += sum(comb(experts, int(k)) for k in room)
    return float(sets) * instance.num_steps * (gpus + 2)
