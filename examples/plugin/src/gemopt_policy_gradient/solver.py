"""REINFORCE over placements: sample, price with `gemopt.evaluate`, climb."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

import gemopt
from gemopt.arrays import Floats
from gemopt.parts.repair import repaired
from gemopt.run.layers import BestRows, layer_rng
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome
from gemopt_policy_gradient.policy import Policy
from gemopt_policy_gradient.problem import Problem
from gemopt_policy_gradient.rollout import Rollout, rollout


@dataclass(frozen=True)
class PolicyGradientParams:
    """Options of `PolicyGradient`.

    Parameters
    ----------
    iterations
        Gradient steps after which the method has come to its own end.
    samples
        Placements of every layer sampled for a gradient step, >= 2.
    learning_rate
        Of Adam, > 0.
    sharpness
        How greedy the untrained policy is, >= 0.
    hidden
        Units of the hidden layer.
    """

    iterations: int = 300
    samples: int = 16
    learning_rate: float = 0.1
    sharpness: float = 8.0
    hidden: int = 16

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("samples", 2), ("hidden", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= {least}")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"learning_rate = {self.learning_rate} must be > 0")
        if not 0 <= self.sharpness < np.inf:
            raise ValueError(f"sharpness = {self.sharpness} must be >= 0")


class PolicyGradient:
    """Learn, on the instance itself, a policy that places copies one by one.

    Copies come by falling load. For each one the policy scores the GPUs that may take
    it and draws one. A batch of placements drawn like this is priced by the true
    objective, communication included, and the policy moves towards choices that led to
    less than the mean cost of their layer (REINFORCE, the mean of the batch as
    baseline). The answer is the best placement drawn.

    One iteration is one batch over all layers. torch runs on one thread, so `jobs`
    changes nothing.

    References
    ----------
    R. J. Williams, Simple statistical gradient-following algorithms for connectionist
    reinforcement learning, Machine Learning 8 (1992).
    """

    name: ClassVar[str] = "policy_gradient"
    summary: ClassVar[str] = "learned: policy gradient over placements (torch)"
    exact: ClassVar[bool] = False
    Params = PolicyGradientParams

    def __init__(self, params: PolicyGradientParams) -> None:
        self.params = params

    def supports(self, instance: gemopt.Instance) -> str | None:
        """Every instance is supported."""
        return None

    def solve(
        self,
        instance: gemopt.Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: gemopt.Placement | None,
        jobs: int,
    ) -> Outcome:
        """Offer the greedy placement, then sample and learn until told to stop."""
        best = BestRows(instance) if start is None else BestRows.of(instance, start)
        with one_thread():
            learner = _Learner(instance, self.params, seed)
            learner.price(learner.greedy(), best)
            best.report(monitor)
            reason = gemopt.StopReason.FINISHED
            done = 0
            while done < self.params.iterations:
                drawn = learner.draw(done, monitor)
                if isinstance(drawn, gemopt.StopReason):
                    reason = drawn
                    break
                learner.learn(drawn, learner.price(drawn, best))
                done += 1
                monitor.iteration = done
                best.report(monitor)
        return Outcome(best.placement, reason, iterations=done)


class _Learner:
    """The policy, its optimiser and the draws of one run."""

    def __init__(
        self, instance: gemopt.Instance, params: PolicyGradientParams, seed: int
    ) -> None:
        self.instance, self.params, self.seed = instance, params, seed
        self.problem = Problem.of(instance)
        self.load = instance.loads @ instance.weights
        generator = torch.Generator().manual_seed(
            int(layer_rng(seed, 0).integers(2**31))
        )
        self.policy = Policy(
            instance.num_layers,
            instance.num_experts,
            instance.num_gpus,
            hidden=params.hidden,
            sharpness=params.sharpness,
            generator=generator,
        )
        self.optimiser = torch.optim.Adam(
            self.policy.parameters(), params.learning_rate
        )

    def greedy(self) -> Rollout:
        """Place by the most probable choices."""
        drawn = rollout(self.problem, self.policy, self._noise(1), lambda: None)
        assert isinstance(drawn, Rollout)  # nothing says stop
        return drawn

    def draw(self, done: int, monitor: Monitor) -> Rollout | gemopt.StopReason:
        """Draw a batch, or say why to stop."""
        noise = self._noise(self.params.samples)
        for layer, layer_id in enumerate(self.instance.layer_ids.tolist()):
            rng = layer_rng(self.seed, layer_id, done)
            noise[:, :, layer] = rng.gumbel(size=noise[:, :, layer].shape)
        return rollout(
            self.problem, self.policy, noise, lambda: monitor.stop_reason(done)
        )

    def _noise(self, samples: int) -> Floats:
        instance = self.instance
        shape = (instance.num_slots, samples, instance.num_layers, instance.num_gpus)
        return np.zeros(shape)

    def price(self, drawn: Rollout, best: BestRows) -> Floats:
        """Cost of every row drawn, us ``[samples, layers]``; offer them to `best`."""
        cost = np.empty(drawn.rows.shape[:2])
        for sample, rows in enumerate(drawn.rows):
            rows = repaired(rows, self.instance.slots, self.load)
            placement = gemopt.Placement(rows, self.instance.slots)
            cost[sample] = gemopt.evaluate(self.instance, placement).per_layer
            for layer, row in enumerate(rows):
                best.offer(layer, row, float(cost[sample, layer]))
        return cost

    def learn(self, drawn: Rollout, cost: Floats) -> None:
        """Take one step of Adam along the policy gradient."""
        advantage = cost.mean(axis=0) - cost
        spread = cost.std(axis=0)
        advantage /= np.where(spread > 0, spread, 1.0)
        layers = torch.arange(cost.shape[1]).expand(drawn.chosen.shape)
        expert = torch.from_numpy(self.problem.items.T.copy())[:, None]
        allowed = drawn.allowed | ~drawn.real[..., None]
        logs = self.policy(
            drawn.features, layers, expert.expand(drawn.chosen.shape), allowed
        )
        taken = logs.gather(3, drawn.chosen[..., None])[..., 0]
        taken = torch.where(drawn.real, taken, 0.0).sum(dim=0)
        loss = -(torch.from_numpy(advantage) * taken).mean(dim=0).sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums come in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
