"""Nothing raised in an engine's thread: one log line, and a placement all the same."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import numpy as np

from gemopt.arrays import Ints
from gemopt.serving.config import PolicyConfig, config_from
from gemopt.serving.place import deepseek_placement, place
from gemopt.serving.request import Request

log = logging.getLogger("gemopt.policies")

_NUMBER = re.compile(r"\b\d[\w.]*(?:(?<=[eE])[+-]\d+)?|\b(?:nan|inf)\b")
_WORD = re.compile(r"[^\W\d]\w*")
_reported: set[str] = set()


def guarded_place(request: Request) -> Ints:
    """`place` with the options of the environment, whatever happens.

    A failure is logged once for each kind. The answer then is the old placement, else
    DeepSeek's, else experts in order.
    """
    return attempt(
        lambda: place(request, config_from()),
        lambda: last_resort(request),
    )


def attempt(first: Callable[[], Ints], otherwise: Callable[[], Ints]) -> Ints:
    """Return `first()`; if it raises, log it once and return `otherwise()`."""
    try:
        return first()
    except Exception as error:
        report_once(error)
        return otherwise()


def report_once(error: Exception) -> None:
    """Log a failure with its traceback, each kind once in a process.

    Of one kind are errors of one class whose messages differ in numbers alone.
    """
    text = f"{type(error).__name__}: {error}"
    kind = " ".join(_WORD.findall(_NUMBER.sub(" ", text)))
    if kind not in _reported:
        _reported.add(kind)
        log.error("gemopt failed, the placement stays: %s", text, exc_info=error)


def last_resort(request: Request) -> Ints:
    """A valid placement that needs nothing which may fail."""
    if request.old is not None:
        return request.old
    try:
        return deepseek_placement(request)
    except Exception as error:
        report_once(error)
        row = np.arange(request.slots, dtype=np.int64) % request.num_experts
        return np.tile(row, (request.num_layers, 1))


def window_steps() -> int:
    """Steps that the engine adds up before a call; the default if options are bad."""
    try:
        return config_from().window_steps
    except ValueError:
        return PolicyConfig().window_steps
