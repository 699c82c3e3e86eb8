"""A small instance on disk, and a way to run the command line in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import gemopt
from gemopt.cli import main
from gemopt.latency import affine


class Run(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Run]
Edit = Callable[[Callable[[dict[str, Any]], None]], Path]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `gemopt` with arguments and catch what it prints."""

    def run(*arguments: object) -> Run:
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return Run(code, out, err)

    return run


@pytest.fixture
def instance() -> gemopt.Instance:
    """Two layers, six experts, eight slots on two GPUs of different speed."""
    counts = np.random.default_rng(1).poisson(20, (12, 2, 6))
    models = [affine(60, 0.5), affine(60, 0.8)]
    return gemopt.Instance.from_arrays(counts, models, slots=[4, 4], name="small")


@pytest.fixture
def path(tmp_path: Path, instance: gemopt.Instance) -> Path:
    """The instance as a file."""
    file = tmp_path / "small.json"
    gemopt.save(instance, file)
    return file


@pytest.fixture
def edited(path: Path) -> Edit:
    """Change the document of the instance file and write it back."""

    def edit(change: Callable[[dict[str, Any]], None]) -> Path:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return path

    return edit
