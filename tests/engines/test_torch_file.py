"""Reading torch's files without torch, against files that torch wrote."""

import collections
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemopt.engines.torch_file import read_pt
from gemopt.files.errors import FileError
from tests.engines import dumps
from tests.engines.dumps import torch

TYPES = [
    "uint8 uint16 uint32 uint64 int8 int16 int32 int64",
    "float16 bfloat16 float32 float64 complex64 complex128 bool",
]


@pytest.mark.parametrize("name", " ".join(TYPES).split())
def test_every_type(tmp_path: Path, name: str) -> None:
    """Each type of numbers that a count may have comes back value by value."""
    values = torch.arange(12).reshape(3, 4).to(getattr(torch, name))
    torch.save(values, tmp_path / "t.pt")
    wide = values.float() if name == "bfloat16" else values
    read = read_pt(tmp_path / "t.pt")
    assert read.dtype == wide.numpy().dtype
    assert np.array_equal(read, wide.numpy())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    data=st.data(),
)
def test_views(tmp_path: Path, shape: list[int], data: st.DataObject) -> None:
    """Slices, transposed tensors, expanded ones, scalars and empty ones are read."""
    values = torch.arange(int(np.prod(shape)), dtype=torch.int64).reshape(shape)
    values = values.permute(data.draw(st.permutations(range(len(shape)))))
    if values.ndim:
        values = values[data.draw(st.integers(0, 2)) :: data.draw(st.integers(1, 2))]
    values = values.expand(2, *values.shape)
    torch.save({"v": values, "same": values}, tmp_path / "t.pt")
    read = read_pt(tmp_path / "t.pt")
    assert np.array_equal(read["v"], values.numpy())
    assert np.array_equal(read["same"], values.numpy())


def test_plain_values(tmp_path: Path) -> None:
    """Numbers, text, bytes, containers, sizes, types and devices are read."""
    saved = {
        "a": [1, 2.5, "x", None, True, b"\xff\x00"],
        "b": collections.OrderedDict(x=(1, 2)),
        "c": {3, 4},
        "d": torch.Size([1, 2]),
        "e": torch.nn.Parameter(torch.ones(2)),
    }
    torch.save({**saved, "f": torch.int64, "g": torch.device("cpu")}, tmp_path / "t.pt")
    read = read_pt(tmp_path / "t.pt")
    assert np.array_equal(read.pop("e"), [1, 1])
    assert (read.pop("f"), read.pop("g")) == ("int64", "cpu")
    del saved["e"]
    assert read == saved


class _Hostile:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def _archive(path: Path, description: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", description)
        archive.writestr("a/data/0", bytes(16))
    return path


def test_nothing_is_run(tmp_path: Path) -> None:
    """A pickle that would call anything is refused, and names what it would call."""
    made = tmp_path / "made"
    torch.save({"x": _Hostile(made)}, tmp_path / "t.pt")
    with pytest.raises(FileError, match=r"t\.pt: .*posix\.mkdir.*not unpickled"):
        read_pt(tmp_path / "t.pt")
    _archive(tmp_path / "u.pt", pickle.dumps(_Hostile(made), 2))
    with pytest.raises(FileError, match="not unpickled"):
        read_pt(tmp_path / "u.pt")
    assert not made.exists()


@pytest.mark.parametrize("name", ["torch.load", "torch._utils.os", "builtins.eval"])
def test_unknown_names(tmp_path: Path, name: str) -> None:
    """Names beside the known ones are refused, those of torch and of builtins too."""
    module, _, last = name.rpartition(".")
    path = _archive(tmp_path / "t.pt", f"c{module}\n{last}\n.".encode())
    with pytest.raises(FileError, match=name):
        read_pt(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, 3, 1), (1, 2, 1), (0, 2, 9), (0, 2, -1), (-1, 1, 1)],
)
def test_tensors_beyond_their_storage(
    tmp_path: Path, offset: int, size: int, stride: int
) -> None:
    """No tensor reaches beyond the 16 bytes of its storage."""
    text = (
        "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nLongStorage\n"
        f"S'0'\nS'cpu'\nI2\ntQI{offset}\n(I{size}\nt(I{stride}\ntI00\nNtR."
    )
    with pytest.raises(FileError, match="damaged"):
        read_pt(_archive(tmp_path / "t.pt", text.encode()))


def test_every_cut_is_named(tmp_path: Path) -> None:
    """A file cut anywhere is said to be truncated, by name."""
    path = tmp_path / "t.pt"
    torch.save({"logical_count": torch.ones(3, 2, 4)}, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        if 0 < length < 4:
            continue  # not even the mark of a zip file
        path.write_bytes(whole[:length])
        with pytest.raises(FileError, match=r"t\.pt: cannot be read: truncated"):
            read_pt(path)


def test_import_without_torch(tmp_path: Path) -> None:
    """``gemopt import sglang`` needs no torch."""
    dumps.stat(tmp_path / "d.pt", dumps.counts(3, 2, 4))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gemopt.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    output = tmp_path / "t.safetensors"
    arguments = ["import", "sglang", str(tmp_path / "d.pt"), "-o", str(output)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    assert output.exists()
