"""The progress bar."""

import io
import math
import sys

import pytest

import gemopt
from gemopt.cli.live import LiveBar, done_fraction, live_observer
from gemopt.stop import Progress


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
