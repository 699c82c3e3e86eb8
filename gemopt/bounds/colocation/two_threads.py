"""Two pieces of numpy work at a time: the same bytes with one core or with two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

Work = Callable[[], None]
Both = Callable[[Work, Work], None]

_LEAST_SIZE = 100  #: handing work over costs as much as a thread saves on less


@contextmanager
def in_pairs(size: int) -> Iterator[Both]:
    """Yield a function that runs two independent pieces of work.

    Inside, BLAS and LAPACK use one thread each: sums keep their order whatever the
    machine, and small matrices lose more to waiting threads than they gain. The two
    pieces run at once where the process may use two cores and BLAS was not limited to
    one thread before (``OMP_NUM_THREADS=1``, workers of joblib). The limit holds for
    the whole process: enter it from one thread at a time.

    Parameters
    ----------
    size
        Rows of the matrices worked on; 0 where only the limit is wanted, which also
        works as a decorator, ``@in_pairs(0)``.
    """
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    allowed = max((lib.num_threads or 1 for lib in blas.lib_controllers), default=1)
    with blas.limit(limits=1):
        if size < _LEAST_SIZE or min(allowed, _cores()) < 2:
            yield in_turn
            return
        with ThreadPoolExecutor(1) as pool:

            def at_once(first: Work, second: Work) -> None:
                other = pool.submit(second)
                try:
                    first()
                finally:
                    other.result()

            yield at_once


def in_turn(first: Work, second: Work) -> None:
    """Run one after the other."""
    first()
    second()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
