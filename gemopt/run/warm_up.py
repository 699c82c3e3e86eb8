"""Compile what the solvers use, once for all processes: an image's build runs it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemopt.jit import compile_seconds, compiled_kernels
from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)
from gemopt.model.instance import Instance
from gemopt.run import registry
from gemopt.run.solve import solve
from gemopt.run.solver import make_params

#: Solvers that answer in a moment; the exact ones compile where they are asked for.
SOLVERS = ("lpt", "eplb", "gem", "meancov", "cluster", "search")


def warm_up(solvers: tuple[str, ...] = SOLVERS) -> tuple[int, float]:
    """Compile the kernels of `solvers` and of the quick bound into numba's cache.

    Processes that find them there (``NUMBA_CACHE_DIR``) compile nothing.

    Returns
    -------
    tuple
        Kernels compiled now, and the seconds that took.
    """
    kernels, seconds = compiled_kernels(), compile_seconds()
    for instance in _instances():
        for solver in solvers:
            _compile(instance, solver)
    return compiled_kernels() - kernels, compile_seconds() - seconds


def _compile(instance: Instance, solver: str) -> None:
    cls = registry.entry(solver).load()
    if cls(make_params(cls, None)).supports(instance) is not None:
        return
    found = solve(instance, solver, iterations=2, bound_effort="quick")
    if solver == "search":
        for start, params in (
            (None, {"preset": "fast"}),
            (found.placement, {"max_moves": 2}),
        ):
            solve(instance, solver, iterations=2, start=start, params=params)


def _instances() -> Iterator[Instance]:
    """Yield small instances of every latency family, with and without copies."""
    counts = np.random.default_rng(0).integers(0, 60, size=(64, 2, 8))
    line = Line(base_us=5.0, per_token_us=0.1)
    stairs = TokenCurve([(64, 10.0), (128, 20.0), (256, 35.0)])
    tiles = TileActive(base_us=5.0, per_active_us=1.0, per_tile_us=2.0)
    families: tuple[LatencyModel, ...] = (
        affine(5.0, 0.1), tiles, stairs,
        Regimes([(500.0, Roofline(line, line)), (np.inf, tiles)]),
    )  # fmt: skip
    for model in families:
        for slots in ([4, 4], [5, 4]):
            yield Instance.from_arrays(counts, [model, model], slots=slots)
