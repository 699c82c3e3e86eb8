"""Every solver keeps the contract on instances with communication, or says why not."""

from dataclasses import replace

import pytest

import gemopt
from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.testing import CHECKS
from tests.communication.cases import routed


def _estimated(instance: Instance) -> Instance:
    """The same without token ids."""
    assert instance.comm is not None
    return replace(instance, comm=replace(instance.comm, routing=None))


INSTANCES = [
    routed(0, experts=6, slots=6, gpus=3, layers=1),
    routed(1, node=[0, 0, 1, 1], hierarchical=True, overlap=0.5, layers=1),
    _estimated(routed(2, node=[0, 1, 1, 1], slots=12)),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("solver", gemopt.solvers())
def test_contract(solver: str, check) -> None:  # type: ignore[no-untyped-def]
    """Limits, honesty, determinism and starts hold for compute and communication."""
    for instance in INSTANCES:
        check(solver, instance)


@pytest.mark.parametrize("solver", ["linear", "eplb", "lpt", "gem", "meancov"])
def test_methods_of_the_literature_do_not_see_communication(solver: str) -> None:
    """They place by loads alone, and pay for communication like anybody."""
    for instance in INSTANCES:
        plain = replace(instance, comm=None)
        seen = gemopt.solve(instance, solver, iterations=2)
        blind = gemopt.solve(plain, solver, iterations=2)
        assert seen.placement == blind.placement
        assert seen.placement is not None
        assert seen.objective == evaluate(instance, seen.placement).objective
        assert seen.objective > blind.objective
