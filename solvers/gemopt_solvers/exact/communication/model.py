"""Compute and communication together, exactly: a 0-1 variable for each set of experts.

``chosen[g, s]`` says that GPU g holds exactly the experts of set s, and
``hosted[h, s]``, under a hierarchical all-to-all, that host h does. The latency of a
GPU, and all tokens that it receives and that others send to it, depend on its own set
alone (those between hosts on the host's), so they are data, and the volumes of every
GPU at each step are linear in the variables. The joint time of compute m and
communication c under overlap o is the larger of ``m + (1 - o) c`` and
``(1 - o) m + c``. Whole numbers are rounded down, so that the solver's bound is one on
the objective.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Floats, Ints
from gemopt.cost.traffic import Links, links
from gemopt_solvers.exact.backend import Problem
from gemopt_solvers.exact.communication.sets import Sets, all_sets
from gemopt_solvers.exact.rows.scaling import TOTAL

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import IntVar, LinearExprT

_FINE = 2**30  #: coefficients stay below 31 bits, see `rows.scaling`
_OVERLAP_UNITS = 10**8


class Volume(NamedTuple):
    """Tokens that one of several variables brings: ``tokens[i, t]`` if i is taken."""

    variables: list[IntVar]
    tokens: Ints  # [variables, steps]


Cell = list[Volume]  #: what adds up in one direction of one GPU's link


class JointModel:
    """The CP-SAT model of one layer in the making."""

    def __init__(self, problem: Problem, hint: Ints) -> None:
        from ortools.sat.python import cp_model

        self.cp = cp_model.CpModel()
        self.expr = cp_model.LinearExpr
        self.instance, self.layer = problem.instance, problem.layer
        comm = self.instance.comm
        if comm is None or comm.routing is None:
            raise ValueError("exact communication needs per-token ids (comm.routing)")
        self.comm, self.routing = comm, comm.routing
        self.link = links(self.instance.node, comm)
        self.scale = TOTAL / problem.known  # whole units per us
        self.used = np.flatnonzero(self.instance.weights > 0)
        self.unit = self.scale * self.instance.weights
        self.size = np.bincount(self.link.node)
        self.room = np.bincount(self.link.node, weights=self.instance.slots)
        self.room = self.room.astype(np.int64)
        self.sets: dict[int, Sets] = {}
        self.chosen = [
            self._choice(int(size), hint[self.instance.slot2gpu == g])
            for g, size in enumerate(self.instance.slots)
        ]
        self._every_expert_once()
        self.hosted: list[list[IntVar]] = []
        if self.link.hierarchical:
            self._hosts(hint)
        self._limit_moves(problem.max_moves, problem.start)
        compute, paid = self._compute(problem.bound), self._communication()
        self.cp.minimize(
            sum(
                self._joined(m, c, self.comm.overlap)
                for m, c in zip(compute, paid, strict=True)
            )
        )

    def _choice(self, size: int, hint: Ints) -> list[IntVar]:
        """One variable for each set of a size, of which one is taken."""
        if size not in self.sets:
            self.sets[size] = all_sets(self.routing, self.instance, self.layer, size)
        member = self.sets[size].member
        variables = [self.cp.new_bool_var("") for _ in member]
        self.cp.add_exactly_one(variables)
        wanted = (member == np.sort(hint)).all(axis=1)
        for variable, there in zip(variables, wanted.tolist(), strict=True):
            self.cp.add_hint(variable, there)
        return variables

    def _has(self, variables: list[IntVar], size: int, expert: int) -> list[IntVar]:
        """Variables of the sets that hold an expert."""
        inside = (self.sets[size].member == expert).any(axis=1)
        return [variables[i] for i in np.flatnonzero(inside)]

    def _holding(self, gpus: Iterable[int], expert: int) -> list[IntVar]:
        """Variables by which one of `gpus` holds an expert."""
        slots = self.instance.slots
        return [
            v for g in gpus for v in self._has(self.chosen[g], int(slots[g]), expert)
        ]

    def _every_expert_once(self) -> None:
        every = range(self.instance.num_gpus)
        for expert in range(self.instance.num_experts):
            self.cp.add_exactly_one(self._holding(every, expert))

    def _hosts(self, hint: Ints) -> None:
        """A host holds what its GPUs hold."""
        owner = self.link.node[self.instance.slot2gpu]
        for h, size in enumerate(self.room.tolist()):
            variables = self._choice(size, hint[owner == h])
            self.hosted.append(variables)
            inside = np.flatnonzero(self.link.node == h).tolist()
            for e in range(self.instance.num_experts):
                there = sum(self._has(variables, size, e))
                self.cp.add(there == sum(self._holding(inside, e)))

    def _limit_moves(self, most: int | None, start: Ints | None) -> None:
        if most is None or start is None:
            return
        kept: list[LinearExprT] = []
        owner = self.instance.slot2gpu
        for g, size in enumerate(self.instance.slots.tolist()):
            same = np.isin(self.sets[size].member, start[owner == g]).sum(axis=1)
            kept.append(self._sum(self.chosen[g], same))
        self.cp.add(sum(kept) >= self.instance.num_slots - most)

    def _sum(self, variables: list[IntVar], weights: ArrayLike) -> LinearExprT:
        """Weighted sum of 0-1 variables; weights are rounded down."""
        whole = np.floor(np.asarray(weights) + 1e-9).astype(np.int64)
        some = np.flatnonzero(whole)
        return self.expr.weighted_sum(
            [variables[i] for i in some], whole[some].tolist()
        )

    def _compute(self, bound: Floats) -> list[IntVar]:
        """Time of the slowest GPU at each used step, whole units."""
        loads = self.instance.loads[self.layer]
        tokens = self.instance.step_tokens[self.layer]
        latest = [
            self.cp.new_int_var(max(0, floor(bound[t] * self.unit[t])), 2 * _FINE, "")
            for t in self.used
        ]
        for g, model in enumerate(self.instance.latency):
            member = self.sets[int(self.instance.slots[g])].member
            us = model.us(loads[member].transpose(0, 2, 1), tokens[None, :])
            for time, t in zip(latest, self.used, strict=True):
                self.cp.add(time >= self._sum(self.chosen[g], us[:, t] * self.unit[t]))
        return latest

    def _communication(self) -> list[LinearExprT]:
        """Time of the all-to-all at each used step, whole units."""
        paid: list[LinearExprT] = []
        near, far = self._near_far()
        for t in self.used:
            unit = float(self.unit[t])
            times = [
                self._time([self._cell(cell, int(t)) for cell in cells], us * unit)
                for cells, us in (
                    (near, self.link.intra_us),
                    (far, self.link.inter_us),
                )
            ]
            both = sum(times)
            if not self.link.hierarchical:
                both = self.cp.new_int_var(0, _FINE, "")
                for time in times:
                    self.cp.add(both >= time)
            paid.append(both + floor(self.link.start_us * unit))
        return paid

    def _near_far(self) -> tuple[list[Cell], list[Cell]]:
        """Volumes of both links: cells in both directions."""
        node, gpus = self.link.node, range(self.instance.num_gpus)
        senders = _senders(self.link)
        near_in: list[Cell] = [[] for _ in gpus]
        near_out: list[Cell] = [[] for _ in gpus]
        far_in: list[Cell] = [[] for _ in gpus]
        far_out: list[Cell] = [[] for _ in gpus]
        for g in gpus:
            tokens = self.sets[int(self.instance.slots[g])].tokens
            for origin in gpus:
                term = Volume(self.chosen[g], tokens[:, :, origin])
                if node[origin] != node[g] and not self.link.hierarchical:
                    far_out[origin].append(term)
                    far_in[g].append(term)
                    continue
                sender = senders[node[g], origin]
                if sender != g:
                    near_out[sender].append(term)
                    near_in[g].append(term)
        for h, variables in enumerate(self.hosted):
            tokens = self.sets[int(self.room[h])].tokens
            for origin in gpus:
                if node[origin] != h:
                    term = Volume(variables, tokens[:, :, origin])
                    far_out[origin].append(term)
                    far_in[senders[h, origin]].append(term)
        return near_in + near_out, far_in + far_out

    def _cell(self, cell: Cell, t: int) -> LinearExprT:
        """Tokens of one direction of one GPU's link at step t."""
        return sum(self._sum(variables, tokens[:, t]) for variables, tokens in cell)

    def _time(self, cells: list[LinearExprT], unit: float) -> IntVar:
        """Whole time of the largest volume at `unit` a token, rounded down."""
        most = len(self.routing.expert_ids) * self.instance.num_gpus
        tokens = self.cp.new_int_var(0, most, "")
        for cell in cells:
            self.cp.add(tokens >= cell)
        fine = max(1, floor(_FINE / max(unit, 1.0)))
        time = self.cp.new_int_var(0, 2 * _FINE, "")
        self.cp.add(fine * time >= floor(unit * fine) * tokens - (fine - 1))
        return time

    def _joined(
        self, compute: LinearExprT, communication: LinearExprT, overlap: float
    ) -> LinearExprT:
        """Joint time of both, rounded down."""
        if overlap == 0.0:
            return compute + communication
        kept = floor((1.0 - overlap) * _OVERLAP_UNITS)
        joint = self.cp.new_int_var(0, 4 * _FINE, "")
        for longer, shorter in ((compute, communication), (communication, compute)):
            both = _OVERLAP_UNITS * longer + kept * shorter
            self.cp.add(_OVERLAP_UNITS * joint >= both - (_OVERLAP_UNITS - 1))
        return joint


def _senders(link: Links) -> Ints:
    """GPU that sends a token of each start within each host, ``[hosts, gpus]``."""
    senders = link.relay.copy()
    gpus = np.arange(len(link.node))
    senders[link.node, gpus] = gpus
    return senders
