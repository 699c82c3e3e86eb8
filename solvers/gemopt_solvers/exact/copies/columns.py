"""All sets of experts on all kinds of GPU with all numbers of copies, if of use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.bounds.steps.minorant import minorant
from gemopt.model.instance import Instance
from gemopt_solvers.exact.copies.column_kernels import columns_into, rest_into

Floats = NDArray[np.float64]
_CELLS = 256  #: of the cost of a step, in which the rest of it is looked up
_ROOM = 1 << 12  #: columns for which room is made at first


@dataclass(frozen=True)
class Columns:
    """Columns: a kind of GPU, a set of experts that fills it, their copies.

    Attributes
    ----------
    kind, mask
        Kind, and experts as bits, of every column, int64 ``[columns]``.
    copies
        Copies that each expert of the column has in all, 0 for the others, int8
        ``[columns, experts]``.
    time
        What every step takes at least once the column is placed, weighted us
        ``[columns, steps]``: the latency of its GPU, or the water-filling bound of the
        other GPUs on what the column leaves to them. The largest over a placement's
        columns is the time of the step. Steps are filled up with zeros.
    """

    kind: Ints
    mask: Ints
    copies: NDArray[np.int8]
    time: Floats

    @classmethod
    def of(
        cls,
        one: Instance,
        used: Ints,
        order: Ints,
        low: Floats,
        limit: float,
        halt: Ints,
    ) -> Columns:
        """List the columns of a layer that may be in a placement below `limit`.

        Parameters
        ----------
        one
            The layer.
        used
            Steps that count.
        order
            Expert of the layer for each expert of the columns.
        low
            A bound of every step that counts, weighted us ``[>= steps]``.
        halt
            Non-zero asks to end; what is returned is then of no use.
        """
        steps, weights = len(used), one.weights[used]
        keep = np.zeros(one.num_steps, dtype=np.bool_)
        keep[used] = True
        program = minorant(one, 0).kept(keep)
        kinds, total = program.kinds, program.cost.sum(axis=1)
        rest = np.empty((len(kinds.models), _CELLS + 1, steps))
        rest_into(
            program.caps,
            program.line,
            program.base,
            program.per_cost,
            program.rows,
            np.where(kinds.slots > 0, kinds.members, 0),
            total,
            low[:steps] / weights,
            max(limit - low.sum(), 0.0) / weights,
            rest,
        )
        loads = np.ascontiguousarray(one.loads[0][order][:, used])
        cost = np.ascontiguousarray(program.cost[:, order].T)
        spare = one.num_slots - one.num_experts
        parts = []
        for k in np.flatnonzero(kinds.slots).tolist():
            size, row = int(kinds.slots[k]), program.rows[k]
            sets = np.array(list(combinations(range(one.num_experts), size)))
            write = partial(
                columns_into,
                kinds.tables,
                row,
                bool((row == row[0]).all()),
                sets,
                loads,
                cost,
                total,
                program.lost * (one.num_gpus - 1),
                rest[k],
                weights,
                low,
                min(one.num_gpus, spare + 1),
                spare,
                limit,
                halt,
            )
            parts.append(_listed(k, write, one.num_experts, len(low)))
        kind, mask, copies, time = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )
        return cls(kind, mask, copies, time)


def _listed(
    kind: int, write: Callable[..., int], experts: int, steps: int
) -> tuple[Ints, Ints, NDArray[np.int8], Floats]:
    """Columns of one kind; `write` is `columns_into` without its outputs."""
    room = _ROOM
    while True:
        mask = np.empty(room, dtype=np.int64)
        copies = np.empty((room, experts), dtype=np.int8)
        time = np.empty((room, steps))
        many = write(mask, copies, time)
        if many <= room:
            of = np.full(many, kind, dtype=np.int64)
            return of, mask[:many], copies[:many], time[:many]
        room = many
