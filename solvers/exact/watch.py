"""Run work that knows no stop criterion in a thread that one can halt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL = 0.02  #: seconds between two looks at the stop criterion


def watched(
    work: Callable[[], T], stop: Callable[[], bool], halt: Callable[[], None]
) -> T:
    """Return ``work()``; call `halt` once `stop` is true, and on Ctrl-C.

    `work` runs in a thread of its own and must end soon after `halt`; what it raises
    is raised here.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL)
            if thread.is_alive() and stop():
                halt()
                thread.join()
    except KeyboardInterrupt:
        halt()
        thread.join()
        raise
    if failed:
        raise failed[0]
    return done[0]
