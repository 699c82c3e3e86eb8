"""`benchmarks/agreement.py` on instances where solvers once disagreed."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("seed", [1261, 2073, 2325, 2687])
def test_what_once_disagreed_agrees(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes them agrees on what cpsat (1261) and HiGHS once got wrong."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    importlib.import_module("agreement").compare(seed)
