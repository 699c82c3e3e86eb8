"""The progress bar."""

import io
import math
import sys

import pytest

import gemopt
from gemopt.cli.common import print_table
from gemopt.cli.live import LiveBar, done_fraction, live_observer
from gemopt.run.stop import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_terminal_gets_a_bar_and_a_pipe_none(
    monkeypatch: pytest.MonkeyPatch, instance: gemopt.Instance
) -> None:
    """On a terminal the run is drawn with its solver and best cost, then cleared."""
    assert live_observer(1.0) is None
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    observer = live_observer(None, 3)
    assert isinstance(observer, LiveBar)
    result = gemopt.solve(instance, "gem", iterations=3, observer=observer)
    text = terminal.getvalue()
    assert "gem" in text
    assert "iterations, best" in text
    assert result.placement == gemopt.solve(instance, "gem", iterations=3).placement


@pytest.mark.parametrize(
    ("time_limit", "iterations", "expected"),
    [(None, None, 0.0), (10.0, None, 0.2), (10.0, 4, 0.75), (1.0, 4, 1.0)],
)
def test_the_bar_follows_the_nearer_limit(
    time_limit: float | None, iterations: int | None, expected: float
) -> None:
    """Two seconds and three iterations fill the bar by the limit that is nearer."""
    progress = Progress(3, 2.0, math.inf, -math.inf, 0)
    assert done_fraction(progress, time_limit, iterations) == expected


def test_tables_on_a_narrow_terminal_are_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A terminal gets a drawn table with every cell whole, however wide."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    rows = [["a", "12.5", "a long remark"], ["bb", "-", "[x] and another one"]]
    print_table(["name", "us", "remark"], rows)
    text = terminal.getvalue()
    for cell in ("a long remark", "[x] and another one", "12.5"):
        assert cell in text


def test_tables_in_a_pipe_align_words_left(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets plain columns: words flush left, numbers flush right."""
    print_table(["name", "us", "remark"], [["a", "2.5", "x"], ["b", "12.5", "yy"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name    us  remark", "a      2.5  x", "b     12.5  yy"]
