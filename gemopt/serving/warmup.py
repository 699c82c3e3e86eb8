"""Compile what a call needs before an engine makes one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gemopt.serving.config import config_from
from gemopt.serving.place import place
from gemopt.serving.request import Request

_RANKS = 4  #: of the small calls, unless profiles name their number


def warm_up() -> None:
    """Make small calls of every kind with the options of the environment.

    Raises
    ------
    ValueError
        An option is wrong, or a profile cannot be read.
    """
    config = config_from()
    gpus = len(config.models())
    ranks = gpus if gpus > 1 else _RANKS
    experts = 2 * ranks
    tokens = (np.arange(2 * experts, dtype=np.int64) ** 2).reshape(2, 1, experts)
    for rows in (1, 2):
        loads = tokens[:rows]
        for slots in (experts, experts + ranks):
            old = np.arange(slots)[None] % experts
            for budget in (None, ranks):
                # With equal ranks too: then ranks are matched to what they held.
                for profiles in {config.profiles, ()}:
                    options = replace(
                        config, profiles=profiles, move_budget=budget, min_gain=0.0
                    )
                    place(Request(loads, 1, slots, ranks, old=old), options)
