"""`gemopt.solve` trusts no solver."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.bounds import lower_bound
from gemopt.cost.evaluate import evaluate
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run import registry
from gemopt.run.observer import Observer
from gemopt.run.result import Status
from gemopt.run.solver import NoParams, Outcome
from gemopt.run.stop import StopReason
from gemopt.testing import contract_instances
from gemopt_solvers.gem import GemParams
from gemopt_solvers.linear import Linear
from tests.strategies import instances, placements

CHEAP = ("linear", "random", "lpt", "eplb", "gem")
INSTANCE = contract_instances()[0]


def linear(instance):
    """Experts in order."""
    row = np.arange(instance.num_slots) % instance.num_experts
    return Placement(np.tile(row, (instance.num_layers, 1)), instance.slots)


@given(st.data())
def test_start_is_never_made_worse(data):
    """Whatever the start and the solver, the answer costs at most as much."""
    instance = data.draw(instances())
    start = data.draw(placements(instance))
    name = data.draw(st.sampled_from(CHEAP))
    cls = registry.entry(name).load()
    if cls(cls.Params()).supports(instance) is not None:
        return
    result = gemopt.solve(instance, name, start=start, iterations=2)
    assert result.objective <= evaluate(instance, start).objective
    assert result.objective == evaluate(instance, result.placement).objective
    assert result.lower_bound <= result.objective


class Scripted(Linear):
    """Returns what the test told it to."""

    outcome = Outcome(None)

    def solve(self, instance, **kwargs):
        return self.outcome


def scripted(outcome, instance=INSTANCE, **options):
    """Run a solver that returns `outcome`."""
    cls = type("Told", (Scripted,), {"outcome": outcome})
    return gemopt.solve(instance, cls, **options)


def test_objective_is_recomputed():
    """The objective is what `evaluate` says, not what was reported."""
    result = scripted(Outcome(linear(INSTANCE)))
    assert result.objective == evaluate(INSTANCE, linear(INSTANCE)).objective
    assert result.status == Status.FEASIBLE


def test_no_solution_keeps_the_bound():
    """An exact run without placement keeps its bound and is no proof."""
    cls = type("Told", (Scripted,), {"outcome": Outcome(None, lower_bound=1e6)})
    cls.exact = True
    result = gemopt.solve(INSTANCE, cls)
    assert result.status == Status.NO_SOLUTION
    assert (result.objective, result.lower_bound) == (math.inf, 1e6)
    assert result.gap == math.inf


def test_infeasible():
    """A solver's proof that nothing exists is passed on, unless a start exists."""
    proof = Outcome(None, infeasible=True)
    assert scripted(proof).status == Status.INFEASIBLE
    assert scripted(proof, start=linear(INSTANCE)).status == Status.FEASIBLE


def test_optimal_only_when_the_bound_meets():
    """A bound equal to the objective is a proof; one just below is not."""
    cost = evaluate(INSTANCE, linear(INSTANCE)).objective
    proven = scripted(Outcome(linear(INSTANCE), lower_bound=cost))
    assert (proven.status, proven.gap) == (Status.OPTIMAL, 0.0)
    close = scripted(Outcome(linear(INSTANCE), lower_bound=cost * (1 - 1e-5)))
    assert close.status == Status.FEASIBLE


def test_wrong_bound_raises():
    """A bound above the objective is a bug of the solver, not a result."""
    cost = evaluate(INSTANCE, linear(INSTANCE)).objective
    with pytest.raises(RuntimeError, match=r"lower bound .* of linear exceeds"):
        scripted(Outcome(linear(INSTANCE), lower_bound=cost * 1.001))


def test_infeasible_placement_raises():
    """A placement that breaks a rule is a bug of the solver."""
    bad = Placement(0 * linear(INSTANCE).phy2log, INSTANCE.slots)
    with pytest.raises(RuntimeError, match="infeasible placement"):
        scripted(Outcome(bad))


class Endless(Linear):
    """Reports the linear placement, then is interrupted."""

    def solve(self, instance, *, monitor, **kwargs):
        placement = linear(instance)
        monitor.stop_reason(7)
        monitor.bounded(1.0)
        monitor.improved(evaluate(instance, placement).objective, placement)
        raise KeyboardInterrupt


def test_ctrl_c_returns_the_best():
    """Ctrl-C gives the best placement, its bound and the iterations done."""
    result = gemopt.solve(INSTANCE, Endless)
    assert result.placement == linear(INSTANCE)
    assert result.stop_reason == StopReason.INTERRUPTED
    assert result.iterations == 7
    assert 1.0 <= result.lower_bound <= result.objective


def test_ctrl_c_before_anything():
    """Ctrl-C before the first placement gives an instant one, or the start."""

    class Nothing(Linear):
        def solve(self, instance, **kwargs):
            raise KeyboardInterrupt

    result = gemopt.solve(INSTANCE, Nothing)
    assert result.status == Status.FEASIBLE
    assert result.stop_reason == StopReason.INTERRUPTED
    start = linear(INSTANCE)
    assert gemopt.solve(INSTANCE, Nothing, start=start).placement == start


def test_ctrl_c_during_the_bound_keeps_the_placement(monkeypatch):
    """Ctrl-C after the run gives its placement and the quickest bound."""

    def impatient(instance, effort, **kwargs):
        if effort != "none":
            raise KeyboardInterrupt
        return lower_bound(instance, effort, **kwargs)

    monkeypatch.setattr("gemopt.run.solve.lower_bound", impatient)
    result = gemopt.solve(INSTANCE, "linear", bound_effort="strong")
    assert result.placement == linear(INSTANCE)
    assert result.stop_reason == StopReason.INTERRUPTED
    assert result.lower_bound > 0


@dataclass(frozen=True)
class Sized:
    """Options with a check."""

    size: int = 1

    def __post_init__(self):
        if self.size < 0:
            raise ValueError(f"size = {self.size} must be >= 0")


class Optioned(Linear):
    """A solver with one option."""

    Params = Sized


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed = -1"),
        ({"jobs": 0}, "jobs = 0"),
        ({"solver": "gemm"}, "did you mean 'gem'?"),
        ({"params": {"sise": 3}}, "no parameter 'sise'; did you mean 'size'?"),
        ({"params": {"size": -3}}, "size = -3"),
        ({"params": 3}, "params = 3"),
        ({"params": GemParams()}, "must be a mapping or Sized"),
        ({"time_limit": -1}, "seconds = -1"),
        ({"iterations": -1}, "count = -1"),
    ],
)
def test_refusals(options, message):
    """Wrong options raise ValueError naming the option and the value."""
    options.setdefault("solver", Optioned)
    with pytest.raises(ValueError) as caught:
        gemopt.solve(INSTANCE, **options)
    assert message in str(caught.value)


def test_no_options_are_named_so():
    """A solver without options says that it knows none."""
    with pytest.raises(ValueError, match="no parameter 'x'; known: none"):
        gemopt.solve(INSTANCE, "linear", params={"x": 1})


def test_params_as_value():
    """Ready Params values are taken as they are."""
    result = gemopt.solve(INSTANCE, "gem", params=GemParams(restarts=2))
    assert result.iterations == 2


def test_unsupported_instance_raises():
    """A solver that cannot take the instance is not run, and the reason is given."""
    unequal = Instance.from_arrays(
        np.ones((1, 1, 3), int), [affine(1, 1)] * 2, slots=[2, 1]
    )
    with pytest.raises(ValueError, match=r"eplb cannot take this instance: slots"):
        gemopt.solve(unequal, "eplb")


def test_start_must_fit():
    """A start that breaks a rule is refused before the run."""
    bad = Placement(0 * linear(INSTANCE).phy2log, INSTANCE.slots)
    with pytest.raises(gemopt.Infeasible, match="expert 1 has no slot"):
        gemopt.solve(INSTANCE, "linear", start=bad)


def test_observer_hears_the_run():
    """An observer hears the start, every improvement and the final result."""
    heard = []

    class Listener(Observer):
        def on_start(self, instance, solver):
            heard.append(("start", solver))

        def on_best(self, progress, placement):
            heard.append(("best", progress.best))

        def on_end(self, result):
            heard.append(("end", result.objective))

    result = gemopt.solve(INSTANCE, "random", iterations=20, observer=Listener())
    assert heard[0] == ("start", "random")
    assert heard[-1] == ("end", result.objective)
    costs = [cost for what, cost in heard if what == "best"]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(result.objective)


def test_auto_runs():
    """`auto` names the solver that it chose."""
    result = gemopt.solve(INSTANCE, iterations=2)
    assert result.solver in gemopt.solvers()
    assert dataclasses.is_dataclass(NoParams)
