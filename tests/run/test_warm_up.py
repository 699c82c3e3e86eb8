"""Compiling ahead of time, and counting what compiling takes."""

import subprocess
import sys
from pathlib import Path

import pytest

_CHILD = """
import sys
import gemopt
from gemopt.jit import compile_seconds, compiled_kernels
from gemopt.run.warm_up import warm_up

instance = gemopt.load(sys.argv[1])
for solver in ("gem", "search"):
    gemopt.solve(instance, solver, iterations=2, bound_effort="quick")
for preset in ("fast", "best"):
    gemopt.solve(instance, "search", iterations=1, params={"preset": preset})
print(compiled_kernels(), compile_seconds())
"""
_TINY = Path(__file__).parents[2] / "instances" / "tiny"


def _compiled(name: str) -> tuple[int, float]:
    """Kernels that a fresh process compiles, and the seconds it says that took."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(_TINY / f"{name}.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kernels, seconds = done.stdout.split()
    return int(kernels), float(seconds)


@pytest.mark.parametrize("name", ["tiny-tiles-e8-g4-s12", "tiny-regimes-e12-g4"])
def test_a_second_process_compiles_nothing(name: str) -> None:
    """Whatever the solvers compile comes from the cache the next time."""
    _compiled(name)
    assert _compiled(name) == (0, 0.0)
