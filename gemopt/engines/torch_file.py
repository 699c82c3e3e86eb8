"""What ``torch.save`` wrote (``.pt``), read without torch and without running anything.

Such a file is an uncompressed zip archive: ``data.pkl``, a pickle of everything but the
numbers, and an entry ``data/KEY`` for each storage. The pickle may only call the few
names below, none of which does more than describe a tensor.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.files.errors import FileError

#: torch's types that numpy has, by both libraries' names.
_NUMPY = {
    "uint8": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
    "complex64": "c8",
    "complex128": "c16",
    "bool": "?",
    "bfloat16": "u2",  # the upper half of a float32; widened after reading
}
#: Names of torch's typed storages.
_STORAGES = {
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
_ZIP, _EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
_HEADER = 30  # bytes of a local zip header before its name


class _Refused(ValueError):
    """The file is whole, but holds something that is not read."""


def read_pt(path: Path) -> Any:
    """Read tensors and plain values; tensors stay on disk until they are used.

    Parameters
    ----------
    path
        A file of ``torch.save`` in its zip format, the default since torch 1.6.

    Returns
    -------
    object
        What was saved, with each tensor as a numpy array: a read-only view of the
        file, or for bfloat16, which numpy lacks, its values as float32. Types of
        numbers and devices are their names.

    Raises
    ------
    FileError
        Truncated or damaged; not such a file; or it holds other objects, which are
        never unpickled.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise FileError(path, "cannot be read: truncated, the file is empty")
    if start not in (_ZIP, _EMPTY_ZIP):
        raise FileError(
            path,
            "cannot be read: damaged, or not in the zip format that torch.save writes "
            "since torch 1.6; save it again",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).load()
    except _Refused as error:
        raise FileError(path, f"cannot be read: {error}") from None
    except zipfile.BadZipFile:
        raise FileError(
            path,
            "cannot be read: truncated (the archive that it begins has no end); was it "
            "still being written?",
        ) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise FileError(path, f"cannot be read: damaged ({error})") from None
    except Exception as error:  # a damaged pickle raises errors of every kind
        text = (str(error) or type(error).__name__)[:100]
        raise FileError(
            path, f"cannot be read: truncated or damaged ({text})"
        ) from None


class _Archive:
    """An open archive and its bytes."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.bytes = np.memmap(path, np.uint8, "r").view(np.ndarray)
        roots = [
            name.removesuffix("data.pkl")
            for name in archive.namelist()
            if name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise _Refused("it is a zip archive, but not one that torch.save writes")
        self.root = roots[0]
        self.order = "<"
        if f"{self.root}byteorder" in archive.namelist():
            self.order = ">" if bytes(self.entry("byteorder")) == b"big" else "<"

    def load(self) -> Any:
        """Unpickle the description and put in the tensors."""
        return _Restricted(self).load()

    def entry(self, name: str) -> NDArray[np.uint8]:
        """Bytes of one entry, uint8 ``[bytes]``, mapped where they are stored plain."""
        info = self.archive.getinfo(self.root + name)
        if info.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(self.archive.read(info), np.uint8)
        header = bytes(self.bytes[info.header_offset :][:_HEADER])
        sizes = np.frombuffer(header[26:30], "<u2").astype(int)
        first = info.header_offset + _HEADER + int(sizes.sum())
        data = self.bytes[first : first + info.file_size]
        if header[:4] != _ZIP or len(data) != info.file_size:
            raise ValueError(f"{name} is not where the archive says")
        return data


class _Restricted(pickle.Unpickler):
    """Knows how torch describes tensors, and refuses every other name.

    The names stand for functions made anew for each file, strings and built-in types:
    a hostile pickle that sets their attributes changes nothing outside this file.
    """

    def __init__(self, archive: _Archive) -> None:
        super().__init__(BytesIO(archive.entry("data.pkl").tobytes()))
        self.archive = archive
        self.names = _names()

    def find_class(self, module: str, name: str) -> Any:
        """Look up one of the known names."""
        if module == "torch" and name in _NUMPY:
            return name
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if f"{module}.{name}" not in self.names:
            raise _Refused(
                f"it holds {module}.{name}; objects other than tensors and plain "
                "values are not unpickled"
            )
        return self.names[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> tuple[NDArray[np.uint8], str, str]:
        """Bytes of a storage, the type of its numbers, and the byte order."""
        kind, dtype, key, _, _ = pid
        if kind != "storage" or dtype not in _NUMPY:
            raise ValueError(f"unknown storage {kind!r}")
        return self.archive.entry(f"data/{key}"), dtype, self.archive.order


def _names() -> dict[str, Callable[..., Any]]:
    """All that a pickle may call, made anew."""

    def typed(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
        return _tensor(storage, offset, size, stride, None)

    def untyped(
        storage: Any, offset: int, size: Any, stride: Any, _: Any, __: Any, dtype: Any,
        *___: Any,
    ) -> Any:  # fmt: skip
        return _tensor(storage, offset, size, stride, dtype)

    def parameter(data: Any, *_: Any) -> Any:
        return data

    def device(kind: str, index: int | None = None) -> str:
        return kind if index is None else f"{kind}:{index}"

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":  # how pickle's second protocol writes bytes
            raise ValueError(f"unknown encoding {encoding!r}")
        return text.encode("latin1")

    return {
        "torch._utils._rebuild_tensor": typed,
        "torch._utils._rebuild_tensor_v2": typed,
        "torch._utils._rebuild_tensor_v3": untyped,
        "torch._utils._rebuild_parameter": parameter,
        "torch.Size": tuple,
        "torch.device": device,
        "collections.OrderedDict": OrderedDict,
        "builtins.set": set,
        "__builtin__.set": set,
        "_codecs.encode": encode,
    }


def _tensor(
    storage: tuple[NDArray[np.uint8], str, str],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dtype: str | None,
) -> NDArray[Any]:
    """View a storage as a tensor; the offset and strides count numbers, not bytes."""
    data, stored, order = storage
    name = stored if dtype is None else dtype
    if name not in _NUMPY:
        raise ValueError(f"unknown type {name!r}")
    kind = np.dtype(order + _NUMPY[name])
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or any(
        type(each) is not int or each < 0 for each in numbers
    ):
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if prod(size) and (last + 1) * kind.itemsize > len(data):
        raise ValueError(f"a tensor of size {size} reaches beyond its storage")
    if not prod(size):
        values = np.zeros(size, kind)
    else:
        flat = data[: len(data) // kind.itemsize * kind.itemsize].view(kind)
        steps = tuple(each * kind.itemsize for each in stride)
        values = np.lib.stride_tricks.as_strided(
            flat[offset:], size, steps, writeable=False
        )
    if name == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values
