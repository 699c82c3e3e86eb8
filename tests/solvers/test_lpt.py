"""Greedy by finishing time, against a numpy twin and by hand."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import gemopt
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.parts.copies import replica_counts
from gemopt.parts.greedy_fill import partial_layer, place_apart, place_by_finish
from gemopt_solvers.lpt import largest_first, lpt_placement
from tests.strategies import FAMILIES, instances
from tests.twins import share


def twin_costs(instance, copies, held, expert, slowest):
    """Cost of `expert` on every GPU with room: finishing time, or slowest GPU."""
    shares = share(instance.loads[0], copies[:, None])
    costs = {}
    for g, experts in enumerate(held):
        if len(experts) < instance.slots[g] and expert not in experts:
            us = instance.latency[g].us(
                shares[[*experts, expert]].T, instance.step_tokens[0]
            )
            us = us if slowest is None else np.maximum(us, slowest)
            costs[g] = float(us @ instance.weights)
    return costs


@pytest.mark.parametrize("apart", [False, True], ids=["by_finish", "apart"])
@pytest.mark.parametrize("family", FAMILIES)
@given(st.data())
def test_every_choice_is_cheapest(apart, family, data):
    """Each expert lies where the numpy twin finds no cheaper GPU at that moment."""
    instance = data.draw(instances((family,), max_layers=1))
    weight = (instance.loads @ instance.weights)[0]
    copies = replica_counts(weight[None], instance.slots)[0]
    order = largest_first(weight, copies)
    partial = partial_layer(instance, 0, copies)
    (place_apart if apart else place_by_finish)(instance.tables, partial, order)
    first = partial.first_slot
    final = [
        [int(e) for e in partial.phy2log[first[g] : first[g + 1]] if e >= 0]
        for g in range(instance.num_gpus)
    ]
    held = [[] for _ in final]
    slowest = np.zeros(instance.num_steps) if apart else None
    shares = share(instance.loads[0], copies[:, None])
    for expert in order.tolist():
        costs = twin_costs(instance, copies, held, expert, slowest)
        # Where it went: the one GPU whose next expert it is.
        went = [
            g
            for g in costs
            if len(held[g]) < len(final[g]) and final[g][len(held[g])] == expert
        ]
        if not costs:
            continue
        assume(len(went) == 1)  # copies of one expert may be told apart no other way
        assert costs[went[0]] <= min(costs.values()) * (1 + 1e-9) + 1e-9
        held[went[0]].append(expert)
        if apart:
            us = instance.latency[went[0]].us(
                shares[held[went[0]]].T, instance.step_tokens[0]
            )
            slowest = np.maximum(slowest, us)


@given(instances())
def test_always_feasible(instance):
    """Unequal slots, replicas and tight corners still give a feasible placement."""
    assert gemopt.violations(instance, lpt_placement(instance)) == []


def test_fast_gpus_get_more():
    """One GPU twice as fast, loads 6 4 1 1: 6 there, 4 here, 1 there, 1 here."""
    lines = [affine(0, 2), affine(0, 1)]
    instance = Instance.from_arrays([[[6, 4, 1, 1]]], lines)
    assert lpt_placement(instance).gpu2experts(0) == [[1, 3], [0, 2]]


def test_by_hand():
    """Loads 5 4 3 3 on equal GPUs: 5 + 3 and 4 + 3, largest first."""
    instance = Instance.from_arrays([[[3, 5, 3, 4]]], [affine(1, 1)] * 2)
    assert lpt_placement(instance).gpu2experts(0) == [[1, 2], [3, 0]]
    assert gemopt.solve(instance, "lpt").objective == 1 + 8


def test_largest_first():
    """Copies of one expert follow each other, by falling share, ties by expert."""
    order = largest_first(np.array([4.0, 6.0, 3.0, 3.0]), np.array([1, 2, 1, 1]))
    assert order.tolist() == [0, 1, 1, 2, 3]
