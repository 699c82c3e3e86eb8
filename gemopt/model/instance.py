"""The problem and its answer: `Instance` and `Placement`, both immutable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Floats as Floats
from gemopt.arrays import Ints as Ints
from gemopt.arrays import (
    counts_array,
    frozen,
    layer_indices,
    one_each,
    positions,
    slots_per_gpu,
    step_weights,
)
from gemopt.latency.base import LatencyModel, latency_models
from gemopt.latency.tables import LatencyTables, compile_tables
from gemopt.model.communication import Communication, checked_communication
from gemopt.model.dispatch import checked_dispatch
from gemopt.model.gpu_classes import GpuClasses, numbered
from gemopt.model.placement import slot_owner
from gemopt.model.recipe import Profiles, dealt_slots, gpu_models, trace_communication
from gemopt.model.sizes import sizes_text
from gemopt.model.topology import Topology
from gemopt.model.trace import RoutingTrace


@dataclass(frozen=True, eq=False, repr=False)
class Instance:
    """An expert placement problem: routing over time, GPU latencies, slots.

    Build it with `Instance.from_trace`, `Instance.from_arrays` or `gemopt.load`. Arrays
    are read-only.

    Attributes
    ----------
    loads
        Token-expert assignments, int64 ``[layers, experts, steps]``, contiguous.
        `counts` is the same data as ``[steps, layers, experts]``.
    latency
        One latency model per GPU, in microseconds.
    slots, node
        Physical slots and host of each GPU, int64 ``[gpus]``.
    layer_ids
        Index of each MoE layer in the model, int64 ``[layers]``.
    weights
        How often each step stands for itself, float64 ``[steps]``.
    comm
        Links and all-to-all traffic; None leaves communication out of the objective.
    dispatch
        How the engine divides the tokens of a replicated expert, see
        `gemopt.dispatch`: "even" or "best".
    name, gpu_names, provenance
        For people: kept by files, ignored by solvers.
    """

    loads: Ints
    latency: tuple[LatencyModel, ...]
    slots: Ints
    node: Ints
    layer_ids: Ints
    weights: Floats
    name: str = ""
    gpu_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    comm: Communication | None = None
    dispatch: str = "even"

    @classmethod
    def from_arrays(
        cls,
        counts: ArrayLike,
        latency: Sequence[LatencyModel] | LatencyModel,
        *,
        slots: ArrayLike | None = None,
        node: ArrayLike | None = None,
        layer_ids: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        name: str = "",
        gpu_names: Sequence[str] = (),
        provenance: Mapping[str, Any] | None = None,
        comm: Communication | None = None,
        dispatch: str = "even",
    ) -> Instance:
        """Build an instance from arrays.

        Parameters
        ----------
        counts
            Token-expert assignments, whole numbers ``[steps, layers, experts]``.
        latency
            One latency model per GPU; one alone stands for all where `slots` says
            how many GPUs there are.
        slots
            Physical slots of each GPU ``[gpus]``, or one number for all; None means
            experts / GPUs each.
        node
            Host of each GPU ``[gpus]``; None means one host.
        layer_ids
            Index of each MoE layer in the model; None means 0, 1, 2...
        weights
            How often each step counts, floats >= 0 ``[steps]``; None means 1 each.
        comm
            Communication of the same layers and steps.
        dispatch
            How replicas share the tokens of their expert: "even" or "best".
        name, gpu_names, provenance
            Labels and free-form origin, kept by files.

        Raises
        ------
        ValueError
            With the name of the argument and the offending value.
        """
        array = counts_array(counts)
        steps, layers, experts = array.shape
        models = latency_models(latency, slots)
        gpus = len(models)
        per_gpu = slots_per_gpu(slots, gpus, experts)
        nodes = one_each("node", node, gpus, "GPU", np.zeros(gpus, np.int64))
        ids = layer_indices(layer_ids, layers)
        if gpu_names and len(gpu_names) != gpus:
            raise ValueError(f"gpu_names has {len(gpu_names)} names for {gpus} GPUs")
        names = tuple(gpu_names) or tuple(f"gpu{g}" for g in range(gpus))
        return cls(
            loads=frozen(np.ascontiguousarray(array.transpose(1, 2, 0))),
            latency=models,
            slots=frozen(per_gpu),
            node=frozen(nodes),
            layer_ids=frozen(ids),
            weights=frozen(step_weights(weights, steps)),
            name=name,
            gpu_names=names,
            provenance=dict(provenance or {}),
            comm=checked_communication(comm, array),
            dispatch=checked_dispatch(dispatch, comm),
        )

    @classmethod
    def from_trace(
        cls,
        trace: RoutingTrace,
        profiles: Profiles,
        *,
        gpus: int | None = None,
        slots: int | ArrayLike | None = None,
        node: ArrayLike | None = None,
        topology: Topology | None = None,
        hidden: int | None = None,
        overlap: float = 0.0,
        name: str = "",
    ) -> Instance:
        """Build an instance from recorded routing and measured GPUs.

        Parameters
        ----------
        trace
            Routing, see `gemopt.load_trace` and `RoutingTrace.summed`.
        profiles
            Profiles (`gemopt.load_profile`) or latency models: one for each GPU, or a
            single one with `gpus`.
        gpus
            Number of GPUs, where one profile stands for all.
        slots
            Slots of each GPU ``[gpus]``, or of all together, which are dealt evenly;
            None means as many as experts.
        node
            Node of each GPU ``[gpus]``; None means one node.
        topology, hidden, overlap
            Links for all-to-all costs, width of a token's activation, and the share of
            communication hidden behind compute; need a trace with per-token ids.
        name
            Name of the instance; the trace's if empty.

        Raises
        ------
        ValueError
            With the name of the argument and the offending value.
        """
        models, names = gpu_models(profiles, gpus)
        return cls.from_arrays(
            trace.counts,
            models,
            slots=dealt_slots(slots, len(models)),
            node=node,
            layer_ids=trace.layer_ids,
            weights=trace.weights,
            name=name or trace.name,
            gpu_names=names,
            provenance=trace.provenance,
            comm=trace_communication(trace, topology, hidden, overlap),
        )

    def __repr__(self) -> str:
        sizes = sizes_text(
            layers=self.num_layers,
            experts=self.num_experts,
            GPUs=self.num_gpus,
            slots=self.num_slots,
            steps=self.num_steps,
        )
        comm = "" if self.comm is None else ", with communication"
        return f"<Instance{f' {self.name!r}' if self.name else ''}: {sizes}{comm}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    @property
    def counts(self) -> Ints:
        """Token-expert assignments, int64 ``[steps, layers, experts]``, read-only."""
        return self.loads.transpose(2, 0, 1)

    @property
    def num_layers(self) -> int:
        """Number of MoE layers."""
        return len(self.loads)

    @property
    def num_experts(self) -> int:
        """Logical experts of a layer."""
        return int(self.loads.shape[1])

    @property
    def num_steps(self) -> int:
        """Steps of the trace."""
        return int(self.loads.shape[2])

    @property
    def num_gpus(self) -> int:
        """Number of GPUs."""
        return len(self.latency)

    @property
    def num_slots(self) -> int:
        """Slots of all GPUs together."""
        return int(self.slots.sum())

    @cached_property
    def slot2gpu(self) -> Ints:
        """GPU of each slot, int64 ``[slots]``."""
        return frozen(slot_owner(self.slots))

    @cached_property
    def step_tokens(self) -> Ints:
        """Token-expert assignments of each step, int64 ``[layers, steps]``."""
        return frozen(self.loads.sum(axis=1))

    @cached_property
    def gpu2class(self) -> Ints:
        """Number of each GPU's latency class, int64 ``[gpus]``.

        Equal latency models share a class; classes count up in order of appearance.
        """
        number = numbered(self.latency)
        return frozen(np.array([number[model] for model in self.latency], np.int64))

    @cached_property
    def classes(self) -> GpuClasses:
        """GPUs grouped by equal latency and equal slots."""
        return GpuClasses.of(self.latency, self.slots)

    @cached_property
    def gpu2node(self) -> Ints:
        """Node of each GPU, numbered from 0 without gaps, int64 ``[gpus]``.

        Nodes count up in order of their numbers in `node`.
        """
        return frozen(np.unique(self.node, return_inverse=True)[1].astype(np.int64))

    @property
    def num_nodes(self) -> int:
        """Number of nodes that have a GPU."""
        return int(self.gpu2node.max()) + 1

    @cached_property
    def mean_loads(self) -> Floats:
        """Mean load of each expert over the weighted steps, ``[layers, experts]``."""
        return frozen(self.loads @ (self.weights / self.weights.sum()))

    @cached_property
    def tables(self) -> LatencyTables:
        """Latency models in the form that the kernels read."""
        return compile_tables(self.latency)

    def with_dispatch(self, dispatch: str) -> Instance:
        """Return the same instance under another dispatch, "even" or "best".

        Raises ValueError for one that is unknown or cannot go with communication.
        """
        return self._changed(dispatch=checked_dispatch(dispatch, self.comm))

    @property
    def splits_evenly(self) -> bool:
        """Whether replicas get the same at every step, or there can be none."""
        return self.dispatch == "even" or self.num_slots <= self.num_experts

    def steps(self, start: int, stop: int) -> Instance:
        """Return the instance of the steps ``start <= t < stop``.

        Raises
        ------
        ValueError
            The range holds no step.
        """
        if not 0 <= start < stop <= self.num_steps:
            raise ValueError(
                f"steps {start}:{stop} is empty or outside 0:{self.num_steps}"
            )
        return self._changed(
            loads=frozen(np.ascontiguousarray(self.loads[:, :, start:stop])),
            weights=frozen(self.weights[start:stop].copy()),
            comm=None if self.comm is None else self.comm.steps(start, stop),
        )

    def layer(self, index: int) -> Instance:
        """Return the instance of one layer."""
        return self._changed(
            loads=self.loads[index : index + 1],
            layer_ids=self.layer_ids[index : index + 1],
            comm=None if self.comm is None else self.comm.layer(index),
        )

    def select(
        self, *, steps: ArrayLike | None = None, layers: ArrayLike | None = None
    ) -> Instance:
        """Return the instance of some steps and layers, in the order given.

        Parameters
        ----------
        steps, layers
            Positions, whole numbers ``[n]``; None takes all.

        Raises
        ------
        ValueError
            Nothing is chosen, a position is out of range or comes twice, or steps are
            chosen of an instance with communication: use `without_communication`, or
            `Instance.steps` for a range.
        """
        rows = positions("layers", layers, self.num_layers)
        kept = positions("steps", steps, self.num_steps)
        if self.comm is not None:
            raise ValueError(
                f"instance {self.name!r} has communication, of which select takes no "
                "part; call without_communication() first, or steps() or layer()"
            )
        return self._changed(
            loads=frozen(np.ascontiguousarray(self.loads[rows][:, :, kept])),
            weights=frozen(self.weights[kept]),
            layer_ids=frozen(self.layer_ids[rows]),
        )

    def without_communication(self) -> Instance:
        """Return the same instance whose objective is compute alone."""
        return self if self.comm is None else self._changed(comm=None)

    def with_loads(self, loads: Ints, weights: Floats) -> Instance:
        """Return an instance of the same GPUs and layers with other steps.

        Parameters
        ----------
        loads
            Token-expert assignments, int64 ``[layers, experts, steps]``.
        weights
            Weight of each step, float64 ``[steps]``.
        """
        return self._changed(
            loads=frozen(np.ascontiguousarray(loads)), weights=frozen(weights)
        )

    def _changed(self, **changes: Any) -> Instance:
        """Replace what is not of the GPUs, and keep what was worked out of them."""
        one = replace(self, **changes)
        for name in ("tables", "classes", "gpu2class", "gpu2node", "slot2gpu"):
            one.__dict__[name] = getattr(self, name)  # the cache of cached_property
        return one

    def split(self, fraction: float = 0.5) -> tuple[Instance, Instance]:
        """Split by time into (seen, unseen); `fraction` of the steps are seen.

        Raises ValueError where one of the two parts would hold no step.
        """
        total = self.num_steps
        seen = round(total * fraction)
        if not 0 < seen < total:
            raise ValueError(
                f"fraction = {fraction} of {total} steps leaves a part empty"
            )
        return self.steps(0, seen), self.steps(seen, self.num_steps)
