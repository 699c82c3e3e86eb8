"""Arrays in engines' files (.npz, .safetensors, .pt), read without unpickling."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import MAX_STEP_TOKENS, Ints, whole
from gemopt.engines.torch_file import read_pt
from gemopt.files.errors import FileError
from gemopt.files.routing_file import read_arrays


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open a file of named arrays; an array is read when it is looked up.

    Yields
    ------
    Mapping
        Name to array.

    Raises
    ------
    FileError
        Another kind of file, a damaged one, or one that needs unpickling.
    OSError
        The file cannot be read.
    """
    with path.open("rb"):  # a plain OSError when it cannot be read
        pass
    if path.suffix == ".npz":
        yield read_arrays(path)
    elif path.suffix == ".safetensors":
        with _open_safetensors(path) as arrays:
            yield arrays
    elif path.suffix in (".pt", ".pth"):
        data = read_pt(path)
        if not isinstance(data, dict):
            raise FileError(path, f"holds a {type(data).__name__}, needs a dictionary")
        yield data
    else:
        raise FileError(
            path, f"suffix {path.suffix!r} is unknown; needs .npz, .safetensors or .pt"
        )


def field(path: Path, arrays: Mapping[str, Any], name: str) -> Any:
    """Look an array up; the error lists what there is."""
    if name not in arrays:
        there = ", ".join(sorted(map(str, arrays))) or "nothing"
        raise FileError(path, f"{name} is missing; the file holds {there[:200]}")
    return arrays[name]


def to_whole(path: Path, name: str, values: Any, ndim: int) -> Ints:
    """Copy an array to int64, naming the file and the field when it fails."""
    try:
        return whole(name, plain(values), ndim)
    except (ValueError, TypeError) as error:
        raise FileError(path, str(error)) from None


def to_counts(path: Path, name: str, values: Any) -> Ints:
    """Copy counts ``[steps, layers, width]`` to int64 and check their range."""
    counts = to_whole(path, name, values, 3)
    if not counts.size:
        return counts
    if counts.min() < 0:
        index = [int(i) for i in np.argwhere(counts < 0)[0]]
        value = counts[tuple(index)]
        raise FileError(path, f"{name}{index} = {value} is negative")
    totals = counts.sum(axis=2, dtype=np.float64)  # cannot overflow
    if totals.max() >= MAX_STEP_TOKENS:
        index = [int(i) for i in np.argwhere(totals == totals.max())[0]]
        raise FileError(
            path,
            f"{name}{index} sums to {totals.max():.0f} assignments, "
            f"needs fewer than {MAX_STEP_TOKENS} in one step",
        )
    return counts


def plain(values: Any) -> NDArray[Any]:
    """View an array or nested lists as a numpy array."""
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError("it has rows of unequal length") from None


class _Lazy(Mapping[str, Any]):
    """Names of a file and a reader; reading errors name the file and the array."""

    def __init__(self, path: Path, names: list[str], read: Any, metadata: Any) -> None:
        self.path, self.names, self.read = path, names, read
        self.metadata: Mapping[str, str] = metadata or {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        try:
            return self.read(name)
        except Exception as error:  # bad zip, bad checksum, pickles, unknown dtype...
            text = str(error) or type(error).__name__
            raise FileError(self.path, f"{name} cannot be read: {text}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise FileError(path, f"is no safetensors file: {error}") from None
    with file as opened:
        yield _Lazy(path, list(opened.keys()), opened.get_tensor, opened.metadata())
