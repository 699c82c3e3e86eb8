"""The plug-in of examples/plugin is found by its entry point and keeps the contract."""

import tomllib
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt import testing
from gemopt.run import registry

pytest.importorskip("torch")

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
NAME = "policy_gradient"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """Install it as an editable install does: its source and its metadata on the path.

    The metadata come from its own pyproject.toml, so that a wrong entry point shows.
    """
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\n"
        f"Version: {project['version']}\n"
    )
    points = project["entry-points"]["gemopt.solvers"]
    lines = [f"{name} = {target}\n" for name, target in points.items()]
    (info / "entry_points.txt").write_text("[gemopt.solvers]\n" + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.syspath_prepend(PLUGIN / "src")
        invalidate_caches()
        registry.entries.cache_clear()
        yield NAME
    invalidate_caches()
    registry.entries.cache_clear()


def test_it_is_listed(plugin):
    """gemopt knows the solver by name and says which distribution brings it."""
    assert plugin in gemopt.solvers()
    assert registry.entry(plugin).origin == "gemopt-policy-gradient"


def test_it_keeps_the_contract(plugin):
    """Every check of `gemopt.testing` passes."""
    testing.check_solver(plugin)


def test_it_learns(plugin):
    """Late draws of the policy cost less on average than early ones."""
    from gemopt_policy_gradient.solver import PolicyGradientParams, _Learner

    from gemopt.run.layers import BestRows
    from gemopt.run.progress import Monitor
    from gemopt.run.stop import MaxIterations

    instance = gemopt.load("real-b512-g4-s64-curve").layer(0)
    learner = _Learner(instance, PolicyGradientParams(), seed=0)
    monitor, best = Monitor(MaxIterations(1000)), BestRows(instance)
    means = []
    for turn in range(30):
        drawn = learner.draw(turn, monitor)
        cost = learner.price(drawn, best)
        learner.learn(drawn, cost)
        means.append(cost.mean())
    assert np.mean(means[-5:]) < 0.99 * np.mean(means[:5])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("samples", 1),
        ("iterations", 0),
        ("hidden", 0),
        ("learning_rate", 0.0),
        ("sharpness", -1.0),
    ],
)
def test_bad_options_are_named(plugin, option, value):
    """An option out of range is refused with its name and value."""
    instance = testing.contract_instances()[0]
    with pytest.raises(ValueError, match=rf"{option} = {value}"):
        gemopt.solve(instance, plugin, params={option: value})


def test_policy_puts_no_weight_on_full_gpus(plugin):
    """Log-probabilities sum to one over allowed GPUs and are -inf elsewhere."""
    import torch
    from gemopt_policy_gradient.policy import FEATURES, Policy

    policy = Policy(
        2, 3, 4, hidden=5, sharpness=2.0, generator=torch.Generator().manual_seed(0)
    )
    allowed = torch.tensor([[True, False, True, True], [False, False, True, False]])
    logs = policy(
        torch.randn(2, 4, FEATURES, dtype=torch.float64),
        torch.tensor([0, 1]),
        torch.tensor([2, 0]),
        allowed,
    )
    assert torch.equal(torch.isfinite(logs), allowed)
    assert torch.allclose(logs.exp().sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_gumbel_draws_follow_the_policy(plugin):
    """First choices are drawn as often as the policy says, within four deviations."""
    import torch
    from gemopt_policy_gradient.solver import PolicyGradientParams, _Learner

    from gemopt.run.progress import Monitor
    from gemopt.run.stop import MaxIterations

    instance = testing.contract_instances()[0].layer(0)
    samples = 4000
    learner = _Learner(instance, PolicyGradientParams(samples=samples, sharpness=1), 3)
    drawn = learner.draw(0, Monitor(MaxIterations(9)))
    with torch.no_grad():
        logs = learner.policy(
            drawn.features[0, :1, 0],
            torch.tensor([0]),
            torch.tensor([int(learner.problem.items[0, 0])]),
            drawn.allowed[0, :1, 0],
        )
    chance = logs.exp().numpy()[0]
    seen = np.bincount(drawn.chosen[0, :, 0].numpy(), minlength=3) / samples
    error = np.sqrt(chance * (1 - chance) / samples)
    assert (np.abs(seen - chance) <= 4 * error + 1e-12).all()
