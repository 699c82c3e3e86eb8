"""Every command and snippet of README and documentation, as a reader runs them."""

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from tests.docs.blocks import Reader, blocks

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
RUNNABLE = [page for page in PAGES if any(b.runs(slow=True) for b in blocks(page))]
SLOW = [page for page in RUNNABLE if any(b.note == "slow" for b in blocks(page))]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


class _NoTorch(MetaPathFinder):
    """Says that there is no torch, unless an earlier test has loaded it."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside the instances, on a machine without torch."""
    (tmp_path / "instances").symlink_to(ROOT / "instances")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEMOPT_INSTANCES", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_NoTorch(), *sys.meta_path])
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_syntax_and_options(page: Path) -> None:
    """Every block names a language, parses, and uses options that exist."""
    for block in blocks(page):
        block.check()


@pytest.mark.parametrize("page", RUNNABLE, ids=_name)
def test_page_runs_from_top_to_bottom(page: Path, laptop: Path) -> None:
    """What a page shows works in the order shown, without GPU and torch."""
    reader = Reader(laptop)
    for block in blocks(page):
        if block.runs(slow=False):
            reader.run(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=_name)
def test_slow_page_runs_from_top_to_bottom(page: Path, laptop: Path) -> None:
    """The same with the blocks that take long."""
    reader = Reader(laptop)
    for block in blocks(page):
        if block.runs(slow=True):
            reader.run(block)


def test_a_wrong_option_is_found(tmp_path: Path) -> None:
    """The check is not blind: an option that no command has is refused."""
    page = tmp_path / "page.md"
    page.write_text("```sh\ngemopt solve x.json --no-such-option 1\n```\n")
    with pytest.raises(AssertionError, match="--no-such-option"):
        blocks(page)[0].check()


def test_a_failing_command_is_found(laptop: Path) -> None:
    """The run is not blind: a command that exits with 2 fails the page."""
    page = laptop / "page.md"
    page.write_text("```sh\ngemopt solve nosuch\n```\n")
    with pytest.raises(AssertionError, match="exit code 2"):
        Reader(laptop).run(blocks(page)[0])
