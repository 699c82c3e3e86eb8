"""Run work that knows no stop criterion in a thread that one can halt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

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


class _Thread(Generic[T]):
    """Work in a thread of its own, which must end soon after `halt` is called."""

    def __init__(self, work: Callable[[], T], halt: Callable[[], None]) -> None:
        self._work, self._halt = work, halt
        self._done: list[T] = []
        self._failed: list[BaseException] = []
        # An event, as Ctrl-C in Thread.join may take a thread that runs for a dead one.
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._done.append(self._work())
        except BaseException as error:  # handed to the caller
            self._failed.append(error)
        finally:
            self._ended.set()

    def busy(self) -> bool:
        """Wait a moment; tell whether the work goes on."""
        return not self._ended.wait(_POLL)

    def end(self) -> None:
        """Halt the work if it still runs, and wait for its end."""
        if not self._ended.is_set():
            self._halt()
            self._ended.wait()

    def result(self) -> T:
        """Return what the work returned, or raise what it raised."""
        if self._failed:
            raise self._failed[0]
        return self._done[0]


def watched(
    work: Callable[[], T], stop: Callable[[], bool], halt: Callable[[], None]
) -> T:
    """Return ``work()``; call `halt` once `stop` is true, and on Ctrl-C.

    `work` runs in a thread of its own and must end soon after `halt`; what it raises
    is raised here. After Ctrl-C, a `stop` with a method `interrupt` is told, and what
    was found until then is returned; otherwise KeyboardInterrupt is raised.
    """
    thread = _Thread(work, halt)
    try:
        while thread.busy():
            if stop():
                thread.end()
    except KeyboardInterrupt:
        thread.end()
        if not hasattr(stop, "interrupt"):
            raise
        stop.interrupt()
    finally:
        thread.end()
    return thread.result()


def polled(work: Callable[[], T], halt: Callable[[], None]) -> Generator[None, None, T]:
    """Do the same where the caller polls: yield while `work` goes on, then return.

    Dropping the generator, or an exception at a yield, calls `halt`.
    """
    thread = _Thread(work, halt)
    try:
        while thread.busy():
            yield
    finally:
        thread.end()
    return thread.result()
