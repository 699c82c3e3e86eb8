"""Each stage of the pipeline by itself."""

import numpy as np
import pytest

import gemopt
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.traffic import synthetic_instance
from gemopt_solvers.search.layer import LayerSearch
from gemopt_solvers.search.moves.acceptance import (
    DOWNHILL,
    METROPOLIS,
    THRESHOLD,
    allowance,
)
from gemopt_solvers.search.moves.proposals import EXCHANGE
from gemopt_solvers.search.presets import PRESETS
from gemopt_solvers.search.stages import (
    Adopt,
    Anneal,
    Deal,
    Exchanges,
    Greedy,
    Quadratic,
    Restart,
    Stage,
    Turn,
)


def made(slots: int = 20) -> Instance:
    """16 experts on 4 unequal GPUs."""
    return synthetic_instance(16, 4, slots, steps=40, speeds="unequal")


def run(search: LayerSearch, *stages: Stage) -> None:
    """Run stages to their end, as a later round."""
    turn = Turn(1, np.random.default_rng(0), search.num_steps)
    for stage in stages:
        for _ in stage.run(search, turn):
            pass


def placed(instance: Instance) -> LayerSearch:
    """A layer after the stages that place it."""
    search = LayerSearch(instance, 0)
    run(search, Deal(8.0), Greedy(), Quadratic(2), Adopt())
    return search


def cost_of(instance: Instance, search: LayerSearch) -> float:
    """What the best row really costs, us; it must be feasible."""
    placement = Placement(search.best[None], instance.slots)
    assert gemopt.violations(instance.layer(0), placement) == []
    return gemopt.evaluate(instance.layer(0), placement).objective


def test_deal_gives_every_slot_to_a_copy_and_divides_the_means() -> None:
    """Copies fill the slots; a copy's mean is the expert's mean by its copies."""
    instance = made()
    search = LayerSearch(instance, 0)
    run(search, Deal(8.0))
    copies = search.coarse.seats.replicas
    assert copies.sum() == 20 and copies.min() >= 1
    whole = LayerSearch(made(16), 0)
    run(whole, Deal(8.0))
    np.testing.assert_allclose(search.mean * copies, whole.mean, rtol=1e-5)


@pytest.mark.parametrize("slots", [16, 20])
def test_a_placed_layer_is_feasible_and_its_cost_is_true(slots: int) -> None:
    """After the stages that place, the cost kept is that of the row kept."""
    instance = made(slots)
    search = placed(instance)
    assert search.cost == pytest.approx(cost_of(instance, search), rel=1e-5)


@pytest.mark.parametrize(
    "stage", [Exchanges(1e9, 4), Anneal(proposals=500), Anneal(500, rule=DOWNHILL)]
)
def test_no_stage_loses_the_best_row(stage: Stage) -> None:
    """A stage that improves never keeps a worse row, and its claim is true."""
    instance = made()
    search = placed(instance)
    before = search.cost
    run(search, Restart(statistics=True), stage)
    assert search.cost <= before
    assert search.cost == pytest.approx(cost_of(instance, search), rel=1e-5)


def test_annealing_with_exchanges_alone_keeps_the_copies() -> None:
    """Moves that are not named are not made."""
    search = placed(made())
    copies = search.fine.seats.replicas.copy()
    run(search, Anneal(proposals=500, moves=((EXCHANGE, 1.0),)))
    np.testing.assert_array_equal(search.fine.seats.replicas, copies)


def test_rules_allow_what_they_say() -> None:
    """Metropolis by chance, a threshold up to the heat, downhill nothing."""
    rules = (METROPOLIS, THRESHOLD, DOWNHILL)
    assert [allowance(rule, 2.0, 1.5) for rule in rules] == [3.0, 2.0, 0.0]


def test_presets_end_with_exchanges_on_all_steps() -> None:
    """Every list ends in a local optimum of the true objective."""
    for preset in PRESETS.values():
        assert isinstance(preset.first[-1], Exchanges)
        assert not preset.again or isinstance(preset.again[-1], Exchanges)
