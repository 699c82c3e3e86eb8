"""How every numba kernel of the project is compiled."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])

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
