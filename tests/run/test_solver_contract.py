"""Every registered solver keeps the contract, and the contract catches offenders."""

from dataclasses import dataclass
from importlib import invalidate_caches

import numpy as np
import pytest

import gemopt
from gemopt import testing
from gemopt.cost.evaluate import evaluate
from gemopt.model.placement import Placement
from gemopt.run import registry
from gemopt.run.solver import NoParams, Outcome
from gemopt_solvers.linear import Linear

INSTANCES = testing.contract_instances()


@pytest.mark.parametrize("solver", gemopt.solvers())
def test_declarations(solver):
    """Names, flags and `Params` are declared."""
    testing.check_declarations(solver)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("solver", gemopt.solvers())
def test_contract(solver, check):
    """Each rule of the contract holds on every kind of instance."""
    if not registry.entry(solver).installed:
        pytest.skip(f"{solver} needs packages that are not installed")
    for instance in INSTANCES:
        check(solver, instance)


PLUGIN = """
from gemopt_solvers.linear import Linear

class Reversed(Linear):
    name = "reversed"
    summary = "experts in order, under another name"
"""


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """A distribution on sys.path that registers the solver `reversed`."""
    (tmp_path / "reversed_plugin.py").write_text(PLUGIN)
    info = tmp_path / "reversed_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: reversed-plugin\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[gemopt.solvers]\nreversed = reversed_plugin:Reversed\n"
        "linear = reversed_plugin:Reversed\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    registry.entries.cache_clear()
    yield "reversed"
    monkeypatch.undo()
    invalidate_caches()
    registry.entries.cache_clear()


def test_third_party_solver(third_party):
    """A solver from an entry point is listed, runs by name and passes the contract."""
    assert third_party in gemopt.solvers()
    assert registry.entry(third_party).origin == "reversed-plugin"
    testing.check_solver(third_party)
    assert gemopt.solve(INSTANCES[0], third_party).solver == third_party


def test_third_party_does_not_replace_ours(third_party):
    """Our own solver wins over an entry point of the same name."""
    assert registry.entry("linear").load() is Linear


def _rows(instance):
    return np.tile(
        np.arange(instance.num_slots) % instance.num_experts, (instance.num_layers, 1)
    )


class Infeasible(Linear):
    """Puts expert 0 everywhere."""

    def solve(self, instance, **kwargs):
        return Outcome(Placement(0 * _rows(instance), instance.slots))


class Boaster(Linear):
    """Reports half the cost."""

    def solve(self, instance, *, monitor, **kwargs):
        placement = Placement(_rows(instance), instance.slots)
        cost = evaluate(instance, placement).objective
        monitor.improved(cost / 2, placement)
        return Outcome(placement)


class Fickle(Linear):
    """Draws from a generator that nobody seeded."""

    generator = np.random.default_rng(0)

    def solve(self, instance, *, monitor, **kwargs):
        names = self.generator.permutation(instance.num_experts)
        placement = Placement(names[_rows(instance)], instance.slots)
        monitor.improved(evaluate(instance, placement).objective, placement)
        return Outcome(placement)


class Deaf(Linear):
    """Never looks at the limit of iterations."""

    def solve(self, instance, *, monitor, **kwargs):
        placement = Placement(_rows(instance), instance.slots)
        monitor.improved(evaluate(instance, placement).objective, placement)
        return Outcome(placement, iterations=1000)


class Silent(Linear):
    """Never reports to the monitor."""

    def solve(self, instance, **kwargs):
        return Outcome(Placement(_rows(instance), instance.slots))


class Liar(Linear):
    """Claims a lower bound above its own objective."""

    def solve(self, instance, *, monitor, **kwargs):
        outcome = super().solve(instance, monitor=monitor, **kwargs)
        return Outcome(outcome.placement, lower_bound=1e12)


class Swallower(Linear):
    """Catches Ctrl-C and carries on."""

    def solve(self, instance, *, monitor, **kwargs):
        try:
            return super().solve(instance, monitor=monitor, **kwargs)
        except KeyboardInterrupt:
            return Outcome(Placement(_rows(instance), instance.slots))


class Meddler(Linear):
    """Changes the instance while it works."""

    def solve(self, instance, *, monitor, **kwargs):
        outcome = super().solve(instance, monitor=monitor, **kwargs)
        instance.node.setflags(write=True)
        instance.node[0] += 1
        return outcome


class Rude(Linear):
    """Refuses without a reason."""

    def supports(self, instance):
        return ""


@dataclass
class Thawed:
    """Params that are not frozen."""


class Soft(Linear):
    """Has Params that can change."""

    Params = Thawed


@pytest.mark.parametrize(
    ("offender", "fault"),
    [
        (Infeasible, "infeasible placement"),
        (Boaster, "reported"),
        (Fickle, "another answer"),
        (Deaf, "of 0 iterations"),
        (Silent, "reported no placement"),
        (Liar, "lower bound"),
        (Swallower, "swallowed Ctrl-C"),
        (Meddler, "changed the instance"),
        (Rude, "gives no reason"),
        (Soft, "not a frozen dataclass"),
    ],
)
def test_contract_catches(offender, fault):
    """The suite fails on a solver that breaks a rule."""
    with pytest.raises((testing.ContractBroken, RuntimeError), match=fault):
        testing.check_solver(offender, testing.contract_instances())


def test_no_params_is_frozen():
    """A solver without options still has a frozen `Params`."""
    with pytest.raises(AttributeError):
        NoParams().x = 1
