"""A Hugging Face checkpoint folder: configuration, index and shard headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemopt.checkpoint.families import Family, expert_groups, family_of
from gemopt.checkpoint.shards import Shard, read_shard
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
#: Weights in other forms: they would not be mapped, so they are not copied.
OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint without reading its weights.

    Attributes
    ----------
    folder
        Where it lies.
    config
        config.json.
    index
        model.safetensors.index.json; None for a single file.
    shards
        Headers of all weight files, by file name.
    """

    folder: Path
    config: Mapping[str, Any]
    index: Mapping[str, Any] | None
    shards: Mapping[str, Shard]

    @property
    def family(self) -> Family:
        """How the tensors are named.

        Raises
        ------
        gemopt.files.errors.FileError
            The model's type is unknown.
        """
        try:
            return family_of(self.config)
        except ValueError as error:
            raise FileError(self.folder / "config.json", str(error)) from None

    @property
    def groups(self) -> int:
        """Groups of experts that the router chooses among, 1 for no limit."""
        return expert_groups(self.config)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor, by name."""
        return {
            name: tensor.shape
            for shard in self.shards.values()
            for name, tensor in shard.tensors.items()
        }

    @property
    def num_bytes(self) -> int:
        """Size of all weight files."""
        return sum(shard.path.stat().st_size for shard in self.shards.values())

    def other_files(self) -> Iterator[Path]:
        """Everything else in the folder that a server may need: no weights."""
        for path in sorted(self.folder.iterdir()):
            hidden = path.name.startswith(".") or path.name == INDEX
            if path.is_file() and not hidden and path.suffix not in OTHER_WEIGHTS:
                yield path


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read configuration, index and headers of a checkpoint.

    Raises
    ------
    gemopt.files.errors.FileError
        A file is missing or malformed, or index and shards disagree.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileError(root, "is no folder; give the folder of a checkpoint")
    config = _object(root / "config.json")
    index_path = root / INDEX
    if index_path.is_file():
        index = _object(index_path)
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise FileError(index_path, f"weight_map = {names!r} must name the tensors")
        for name, file in names.items():
            if not isinstance(file, str) or Path(file).name != file:
                raise FileError(
                    index_path, f"weight_map[{name!r}] = {file!r} must be a file name"
                )
        files = sorted(set(names.values()))
    elif (root / SINGLE).is_file():
        index, names, files = None, None, [SINGLE]
    else:
        raise FileError(root, f"holds neither {INDEX} nor {SINGLE}")
    shards = {file: read_shard(root / file) for file in files}
    if names is not None:
        _check_index(index_path, names, shards)
    return Checkpoint(root, config, index, shards)


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileError(path, "is missing")
    document = read_json(path)
    if not isinstance(document, dict):
        raise FileError(path, f"holds a {type(document).__name__}, needs an object")
    return document


def _check_index(
    path: Path, names: Mapping[str, str], shards: Mapping[str, Shard]
) -> None:
    for name, file in names.items():
        if name not in shards[file].tensors:
            raise FileError(path, f"names {name} in {file}, which does not hold it")
    for file, shard in shards.items():
        for name in shard.tensors:
            if names.get(name) != file:
                raise FileError(path, f"does not name {name}, which {file} holds")
