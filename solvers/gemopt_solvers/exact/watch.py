"""Run work that knows no stop criterion in a thread that one can halt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL = 0.02  #: seconds between two looks at the stop criterion


class Deadline:
    """A stop criterion that is also true once `seconds` are over."""

    def __init__(self, stop: Callable[[], bool], seconds: float) -> None:
        self._stop, self._end = stop, time.perf_counter() + seconds

    def __call__(self) -> bool:
        return self._stop() or time.perf_counter() >= self._end

    def interrupt(self) -> None:
        """Hand Ctrl-C on to the criterion inside."""
        if not hasattr(self._stop, "interrupt"):
            raise KeyboardInterrupt
        self._stop.interrupt()


def watched(
    work: Callable[[], T], stop: Callable[[], bool], halt: Callable[[], None]
) -> T:
    """Return ``work()``; call `halt` once `stop` is true, and on Ctrl-C.

    `work` runs in a thread of its own and must end soon after `halt`; what it raises
    is raised here. After Ctrl-C, a `stop` with a method `interrupt` is told, and what
    was found until then is returned; otherwise KeyboardInterrupt is raised.
    """
    done: list[T] = []
    failed: list[BaseException] = []
    # An event, as Ctrl-C in Thread.join may take a thread that runs for a dead one.
    ended = threading.Event()

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # handed to the caller
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        while not ended.wait(_POLL):
            if stop():
                halt()
                ended.wait()
    except KeyboardInterrupt:
        halt()
        ended.wait()
        if not hasattr(stop, "interrupt"):
            raise
        stop.interrupt()
    if failed:
        raise failed[0]
    return done[0]
