"""How every numba kernel of the project is compiled."""

import hashlib
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import event

F = TypeVar("F", bound=Callable[..., object])


class _CompileClock(event.Listener):  # type: ignore[misc]  # numba has no types
    """Adds up the wall time that this process spends compiling kernels.

    numba reports nested starts, of a kernel and of those it calls; only the outermost
    counts. Kernels that come from the cache on disk are not reported at all.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.kernels = 0
        self.announce: Callable[[], None] | None = None
        self._own = threading.local()
        self._lock = threading.Lock()

    def on_start(self, event: event.Event) -> None:
        depth = getattr(self._own, "depth", 0)
        if depth == 0:
            self._own.start = time.perf_counter()
            announce, self.announce = self.announce, None
            if announce is not None:
                announce()
        self._own.depth = depth + 1

    def on_end(self, event: event.Event) -> None:
        self._own.depth -= 1
        with self._lock:
            self.kernels += 1
            if self._own.depth == 0:
                self.seconds += time.perf_counter() - self._own.start


_CLOCK = _CompileClock()
event.register("numba:compile", _CLOCK)


def compile_seconds() -> float:
    """Return the seconds that this process has spent compiling kernels so far.

    The difference of two calls is what compilation took between them; where several
    threads compile, each counts its own time, waiting for the others included.
    """
    return _CLOCK.seconds


def announce_compiling(announce: Callable[[], None] | None) -> None:
    """Have `announce` called once, when the next kernel begins to compile."""
    _CLOCK.announce = announce


def compiled_kernels() -> int:
    """Return how many kernels this process has compiled; the cache's do not count."""
    return _CLOCK.kernels


_PACKAGE = Path(__file__).parent
_SHARED_SOURCES = ("cost/*.py", "latency/*.py", "model/*.py", "parts/*.py")


@cache
def _stamp(folder: Path) -> str:
    """Digest of the sources about `folder` and of those that all kernels call."""
    shared = [path for glob in _SHARED_SOURCES for path in _PACKAGE.glob(glob)]
    while (folder.parents[1] / "__init__.py").exists():
        folder = folder.parent  # kernels call those of the rooms beside theirs
    nested = (folder.parent / "__init__.py").exists()
    beside = folder.rglob("*.py") if nested else folder.glob("*.py")
    digest = hashlib.sha256()
    for path in sorted({*shared, *beside}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _compiled(function: F, **options: Any) -> F:
    dispatcher = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    # numba trusts the time and size of the one file that holds the kernel, and would
    # run an old binary when a kernel that this one calls has changed.
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        folder = Path(function.__code__.co_filename).parent
        setattr(cache_file, "_source_stamp", _stamp(folder))  # noqa: B010
    return cast("F", dispatcher)


def kernel(function: F) -> F:
    """Compile `function` without the GIL, cached on disk.

    No ``fastmath``: reordered sums would differ between processors, and with them
    the placements of ranks that must agree.
    """
    return _compiled(function)


def inlined(function: F) -> F:
    """Compile a small helper that is inlined into the kernels that call it."""
    return _compiled(function, inline="always")
