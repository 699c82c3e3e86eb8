"""Latency models as numbers that add up over experts.

A latency that is a line in tokens, active experts and tiles becomes one number for each
expert, number of copies and step. GPUs whose lines differ by a factor only share these
numbers (a *stream*); the factor is the GPU's scale. Curves add up tokens, two-line
models add up two numbers (*terms*), and a function of the GPU ends both.
"""

from typing import NamedTuple

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.jit import kernel
from gemopt.latency.base import CURVE, LINE, TWO_LINES
from gemopt.latency.tables import LatencyTables, rows_of_steps
from gemopt.model.instance import Instance
from gemopt_solvers.search.state.windows import padded


class AdditiveTerms(NamedTuple):
    """How the loads of one layer follow from its tokens; see `Loads` for the arrays."""

    curved: bool
    row: Ints  # [gpus, steps] row of the latency tables
    base: Floats  # [gpus, steps] us; of lines only
    stream: Ints  # [gpus]
    scale: Floats  # [gpus]
    coef: Floats  # [rows, 4]
    stream_row: Ints  # [streams, steps]
    term: Ints  # [gpus, 2]
    term_row: Ints  # [terms, steps]


def line_of(tables: LatencyTables, row: int) -> tuple[float, ...] | None:
    """(base, active, tile, token, size of a tile) of a row that is a line, or None."""
    kind = int(tables.kind[row])
    piece = tables.piece_start[row]
    if kind == LINE:
        base, active, tile, token = (float(x) for x in tables.lines[row, 0])
        return base, active, tile, token, float(tables.tile[row]) if tile else 1.0
    if kind == CURVE and tables.piece_start[row + 1] - piece == 1:
        return float(tables.intercept[piece]), 0.0, 0.0, float(tables.slope[piece]), 1.0
    return None


def additive_terms(instance: Instance, layer: int) -> AdditiveTerms:
    """Choose streams or terms for one layer."""
    tables = instance.tables
    steps = padded(instance.num_steps)
    step_tokens = np.zeros(steps)
    step_tokens[: instance.num_steps] = instance.step_tokens[layer]
    rows = rows_of_steps(tables, step_tokens)
    used = np.unique(rows).tolist()
    lines = {r: line_of(tables, r) for r in used}
    if any(line is None for line in lines.values()):
        return _terms(tables, rows)
    return _streams({r: line for r, line in lines.items() if line}, rows)


def _streams(lines: dict[int, tuple[float, ...]], row: Ints) -> AdditiveTerms:
    gpus, steps = row.shape
    coef: dict[tuple[float, ...], int] = {}
    streams: dict[tuple[int, ...], int] = {}
    stream = np.zeros(gpus, dtype=np.int64)
    scale = np.zeros(gpus)
    base = np.zeros((gpus, steps))
    stream_row: list[Ints] = []
    for g in range(gpus):
        mine, index = np.unique(row[g], return_inverse=True)
        slopes = np.array([lines[int(r)][1:4] for r in mine])
        base[g] = np.array([lines[int(r)][0] for r in mine])[index]
        scale[g] = slopes.sum() / len(mine)
        # Equal up to rounding is equal: a factor of speed must not part streams.
        unit = np.round(slopes / scale[g], 12) if scale[g] > 0 else slopes
        ids = [
            coef.setdefault((*u, lines[int(r)][4]), len(coef))
            for u, r in zip(unit.tolist(), mine, strict=True)
        ]
        per_step = np.array(ids, dtype=np.int64)[index]
        stream[g] = streams.setdefault(tuple(per_step.tolist()), len(streams))
        if stream[g] == len(stream_row):
            stream_row.append(per_step)
    nothing = np.zeros((1, 1), dtype=np.int64)
    return AdditiveTerms(
        curved=False, row=nothing, base=base, stream=stream, scale=scale,
        coef=np.array(list(coef)), stream_row=np.stack(stream_row),
        term=np.zeros((gpus, 2), dtype=np.int64), term_row=nothing,
    )  # fmt: skip


def _terms(tables: LatencyTables, row: Ints) -> AdditiveTerms:
    gpus, steps = row.shape
    coef: dict[tuple[float, ...], int] = {}
    terms: dict[tuple[int, ...], int] = {}
    term = np.full((gpus, 2), -1, dtype=np.int64)
    term_row: list[Ints] = []
    for g in range(gpus):
        mine, index = np.unique(row[g], return_inverse=True)
        for i in range(2):
            if i == 1 and not (tables.kind[mine] == TWO_LINES).any():
                continue
            ids = [coef.setdefault(_term(tables, int(r), i), len(coef)) for r in mine]
            per_step = np.array(ids, dtype=np.int64)[index]
            term[g, i] = terms.setdefault(tuple(per_step.tolist()), len(terms))
            if term[g, i] == len(term_row):
                term_row.append(per_step)
    return AdditiveTerms(
        curved=True, row=row, base=np.zeros((gpus, steps)),
        stream=np.zeros(gpus, dtype=np.int64), scale=np.ones(gpus),
        coef=np.array(list(coef)), stream_row=np.zeros((1, 1), dtype=np.int64),
        term=term, term_row=np.stack(term_row),
    )  # fmt: skip


def _term(tables: LatencyTables, row: int, which: int) -> tuple[float, ...]:
    kind = int(tables.kind[row])
    if kind == CURVE:
        return (0.0, 0.0, 1.0 if which == 0 else 0.0, 1.0)
    if kind == LINE and which == 1:
        return (0.0, 0.0, 0.0, 1.0)
    _, active, tile, token = (float(x) for x in tables.lines[row, which])
    return active, tile, token, float(tables.tile[row]) if tile else 1.0


@kernel
def expert_terms_into(
    tokens: Ints, expert: int, copies: int, coef: Floats, rows: Ints, out: Floats
) -> None:
    """Write what one copy of `expert` adds at each step, float64 ``[steps]``."""
    steps = tokens.shape[1]
    first = rows[0]
    active, tile, token, _ = coef[first]
    same = True
    for t in range(steps):
        same = same and rows[t] == first
    if same and active == 0.0 and tile == 0.0:
        factor = token / copies
        for t in range(steps):
            out[t] = factor * tokens[expert, t]
        return
    for t in range(steps):
        row = rows[t]
        share = tokens[expert, t] / copies
        out[t] = (
            coef[row, 0] * (1.0 if share > 0.0 else 0.0)
            + coef[row, 1] * np.ceil(share / coef[row, 3])
            + coef[row, 2] * share
        )
