"""The objective: what a placement costs on a trace. One function for everybody."""

from dataclasses import dataclass
from functools import cached_property
from html import escape

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.cost.traffic import Traffic, traffic
from gemopt.dispatch.split import split_layer
from gemopt.engines.balance import BALANCEDNESS
from gemopt.model.check import require_feasible
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.model.sizes import sizes_text


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Cost of a placement on the steps of an instance, in microseconds.

    Attributes
    ----------
    objective
        ``sum_t weights[t] * sum_l max_g per_gpu[t, l, g]``, in us; with communication
        c and overlap o, the max m gives way to ``m + c - o * min(m, c)``.
    per_layer
        What each layer adds to the objective, us ``[layers]``.
    per_step
        Latency of the slowest GPU, us ``[steps, layers]``, unweighted.
    per_gpu
        Latency of every GPU, us ``[steps, layers, gpus]``, unweighted.
    tokens
        Token shares of every GPU, ``[steps, layers, gpus]``.
    weights
        Weight of each step ``[steps]``.
    communication
        All-to-all of each step, or None if the instance has no communication.
    """

    objective: float
    per_layer: Floats
    per_step: Floats
    per_gpu: Floats
    tokens: Floats
    weights: Floats
    communication: Traffic | None = None

    def __repr__(self) -> str:
        steps, layers, gpus = self.per_gpu.shape
        sizes = sizes_text(layers=layers, GPUs=gpus, steps=steps)
        return (
            f"<Evaluation {self.objective:,.6g} us over {sizes}, "
            f"GPUs idle {100 * self.idle_fraction:.1f} %>"
        )

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    @cached_property
    def straggler_us(self) -> float:
        """Compute alone: weighted sum of the slowest GPU's latency, us."""
        return float((self.weights @ self.per_step).sum())

    @cached_property
    def communication_us(self) -> float:
        """All-to-all alone: weighted sum of its time, us; 0 without communication."""
        if self.communication is None:
            return 0.0
        return float((self.weights @ self.communication.per_step).sum())

    @cached_property
    def straggler_share(self) -> Floats:
        """Share of (step, layer) pairs in which each GPU is the slowest, ``[gpus]``.

        Weighted by step; GPUs that tie for slowest share the pair.
        """
        slowest = self.per_gpu == self.per_step[:, :, None]
        share = slowest / slowest.sum(axis=2, keepdims=True)
        weighted = (share * self.weights[:, None, None]).sum(axis=(0, 1))
        total = weighted.sum()  # 0 where every step of a slice weighs nothing
        return np.asarray(weighted / total if total > 0 else weighted)

    @cached_property
    def idle_fraction(self) -> float:
        """Share of all GPU time that is spent waiting for the slowest GPU, 0..1."""
        busy = (self.per_gpu.mean(axis=2) * self.weights[:, None]).sum()
        longest = (self.per_step * self.weights[:, None]).sum()
        return float(1.0 - busy / longest) if longest > 0 else 0.0

    @cached_property
    def balancedness(self) -> dict[str, float]:
        """Token balance under each engine's own definition, by engine name.

        See `gemopt.engines.balance`: ``vllm`` and ``sglang`` in (0, 1] with 1 best,
        ``vllm_ascend`` >= 1 with 1 best, ``tensorrt_llm`` >= 0 with 0 best.
        """
        return {name: rule(self.tokens) for name, rule in BALANCEDNESS.items()}


def evaluate(instance: Instance, placement: Placement) -> Evaluation:
    """Evaluate `placement` on every step of `instance`, under its dispatch.

    Raises
    ------
    gemopt.Infeasible
        The placement does not answer this instance; the message says where.
    """
    require_feasible(instance, placement)
    from gemopt.cost.sum_kernels import evaluate_into, straggler_into

    layers, experts, steps = instance.loads.shape
    latency = np.empty((layers, instance.num_gpus, steps))
    tokens = np.empty_like(latency)
    if instance.dispatch == "even":
        evaluate_into(
            instance.tables,
            instance.loads,
            instance.step_tokens,
            placement.phy2log,
            np.concatenate([[0], np.cumsum(placement.slots)]),
            placement.replicas(experts),
            tokens,
            latency,
        )
    else:
        for layer in range(layers):
            split = split_layer(instance, placement, layer)
            tokens[layer], latency[layer] = split.tokens, split.latency
    slowest = np.empty((layers, steps))
    per_layer = np.empty(layers)
    straggler_into(latency, instance.weights, slowest, per_layer)
    communication = None
    if instance.comm is not None:
        communication = traffic(instance, placement)
        both = combined(slowest.T, communication.per_step, instance.comm.overlap)
        per_layer = instance.weights @ both
    return Evaluation(
        objective=float(per_layer.sum()),
        per_layer=per_layer,
        per_step=slowest.T,
        per_gpu=latency.transpose(2, 0, 1),
        tokens=tokens.transpose(2, 0, 1),
        weights=instance.weights,
        communication=communication,
    )


def evaluate_layer(instance: Instance, layer: int, phy2log: Ints) -> Evaluation:
    """Evaluate one layer, whose slots hold the experts `phy2log` int64 ``[slots]``.

    Raises
    ------
    gemopt.Infeasible
        The slots do not answer this layer.
    """
    placement = Placement(phy2log[None], instance.slots)
    return evaluate(instance.layer(layer), placement)


def layer_cost(instance: Instance, layer: int, phy2log: Ints) -> float:
    """Objective of one layer, us; see `evaluate_layer`."""
    return evaluate_layer(instance, layer, phy2log).objective


def combined(compute: Floats, communication: Floats, overlap: float) -> Floats:
    """Time of compute and communication together, us, of arrays of one shape."""
    hidden = overlap * np.minimum(compute, communication)
    return np.asarray(compute + communication - hidden)
