"""`benchmarks/agreement.py` on instances where solvers once disagreed."""

import pytest

from benchmarks.agreement import compare


@pytest.mark.parametrize("seed", [1261, 2073, 2325, 2687])
def test_what_once_disagreed_agrees(seed: int) -> None:
    """Whoever takes them agrees on what cpsat (1261) and HiGHS once got wrong."""
    compare(seed)
