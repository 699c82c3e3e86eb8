"""Every backend against a reference in higher precision, on fresh random inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gemopt_gpu_bench.backends import NAMES, entry, make
from gemopt_gpu_bench.backends.tiles import TileTable
from gemopt_gpu_bench.measure.layer import ExpertLayer

TOLERANCE = 1e-2  # bf16 operands and results land near 4e-3


@dataclass(frozen=True)
class Check:
    """Relative error of one backend on one load; NaN where a row was not written."""

    backend: str
    shape: tuple[int, int, int]
    load: str
    error: float

    @property
    def passed(self) -> bool:
        """Tell whether the error is that of rounding; NaN never passes."""
        return self.error < TOLERANCE


def loads_for(experts: int, seed: int) -> dict[str, tuple[list[int], float]]:
    """Counts and mean tokens that reach every configuration and awkward remainders."""
    rng = np.random.default_rng(seed)
    one = [0] * experts
    one[-1] = 1
    found = {"one token": (one, 1.0)}
    for mean in (3, 20, 50, 130, 300):
        counts = rng.poisson(mean * rng.dirichlet(np.full(experts, 2.0)) * experts)
        if experts > 1:
            counts[rng.integers(experts)] = 0
        counts[0] += 1
        found[f"about {mean} each"] = ([int(n) for n in counts], float(mean))
    return found


def check_backend(
    name: str,
    device: torch.device,
    *,
    shape: tuple[int, int, int] = (512, 384, 5),
    table: TileTable | None = None,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> list[Check]:
    """Compare one backend with `ExpertLayer.reference`.

    Parameters
    ----------
    name
        Backend.
    device
        Where to run.
    shape
        (hidden, intermediate, experts).
    table
        Tiles, for backends that take them.
    dtype
        Of weights and tokens.
    seed
        Of inputs and counts.
    """
    cases = loads_for(shape[2], seed)
    most = max(sum(counts) for counts, _ in cases.values())
    layer = ExpertLayer(*shape, most, device=device, dtype=dtype, seed=seed)
    backend = make(name, table=table)
    checks = []
    for label, (counts, mean) in cases.items():
        layer.inner.fill_(float("nan"))
        layer.out.fill_(float("nan"))
        result = backend.bind(layer, counts, mean)(0).float()
        truth = layer.reference(counts)
        error = float((result - truth).norm() / truth.norm())
        checks.append(Check(name, shape, label, error))
    return checks


def check_all(
    device: torch.device, tables: Sequence[TileTable] = ()
) -> tuple[list[Check], list[str]]:
    """Check every backend that runs on `device`.

    Parameters
    ----------
    device
        Where to run.
    tables
        Tiles to check backends with tiles with, besides its default ones.

    Returns
    -------
    tuple
        The checks, and a line for each backend that does not run there.
    """
    checks, skipped = [], []
    for name in NAMES:
        needs = entry(name)
        if needs.needs_gpu and device.type == "cpu":
            skipped.append(f"backend {name} needs a GPU: not checked")
            continue
        try:
            for table in (None, *tables) if needs.tiled else (None,):
                checks += check_backend(name, device, table=table)
        except ValueError as error:
            skipped.append(f"{error}: not checked")
    return checks, skipped


def table_text(checks: Sequence[Check]) -> str:
    """Lay the checks out as a table, one line each."""
    lines = [f"{'backend':<12}{'shape':<22}{'load':<18}{'relative error':>15}"]
    for check in checks:
        d, ff, experts = check.shape
        mark = "" if check.passed else "  FAILED"
        lines.append(
            f"{check.backend:<12}{f'{d} x {ff} e{experts}':<22}{check.load:<18}"
            f"{check.error:>15.2e}{mark}"
        )
    return "\n".join(lines)
