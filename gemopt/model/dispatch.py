"""Names of the dispatches: how an engine divides the tokens of a replicated expert."""

from gemopt.model.communication import Communication

#: What each dispatch does.
DISPATCHES = {
    "even": "each replica gets the same",
    "best": "the split of each step that finishes first under the GPUs' latency",
}


def checked_dispatch(name: str, comm: Communication | None) -> str:
    """Return `name`; raise ValueError if it is unknown or cannot go with `comm`."""
    if name not in DISPATCHES:
        known = ", ".join(DISPATCHES)
        raise ValueError(f"dispatch {name!r} is unknown; known: {known}")
    if name != "even" and comm is not None:
        raise ValueError(
            f"dispatch {name!r} has no model of communication; leave comm out, or "
            "take dispatch 'even'"
        )
    return name
