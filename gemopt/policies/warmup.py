"""Compile what a call needs before an engine makes one."""

from __future__ import annotations

import numpy as np

from gemopt.policies.config import PolicyConfig, config_from
from gemopt.policies.placing import place
from gemopt.policies.request import Request


def warm_up() -> None:
    """Make small calls of every kind with the options of the environment.

    Raises
    ------
    ValueError
        An option is wrong, or a profile cannot be read.
    """
    config = config_from()
    if config.profiles:
        config.latency(len(config.profiles))
    loads = np.arange(1, 17, dtype=np.int64).reshape(2, 1, 8) ** 2
    old = np.arange(12, dtype=np.int64)[None] % 8
    bounded = PolicyConfig(move_budget=4, preset=config.preset)
    for slots in (8, 12):
        place(Request(loads, 1, slots, 4), PolicyConfig(preset=config.preset))
    place(Request(loads, 1, 12, 4, old=old), bounded)
