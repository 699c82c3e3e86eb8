"""Links between GPUs, as the alpha-beta model of a transfer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

BYTES_PER_US_OF_GB_PER_S = 1e3


@dataclass(frozen=True)
class Link:
    """A transfer of b bytes takes ``alpha_us + b / bandwidth``.

    Parameters
    ----------
    alpha_us
        Start-up latency of a collective over this link, us.
    gb_per_s
        Bandwidth of one GPU in one direction, 1e9 bytes per second.

    Raises
    ------
    ValueError
        A negative latency or a bandwidth that is not positive.
    """

    alpha_us: float
    gb_per_s: float

    def __post_init__(self) -> None:
        if not self.alpha_us >= 0:
            raise ValueError(f"alpha_us = {self.alpha_us} must be >= 0")
        if not self.gb_per_s > 0:
            raise ValueError(f"gb_per_s = {self.gb_per_s} must be > 0")

    @property
    def us_per_byte(self) -> float:
        """Time of one byte, us."""
        return 1.0 / (self.gb_per_s * BYTES_PER_US_OF_GB_PER_S)


@dataclass(frozen=True)
class Topology:
    """Links within a host and between hosts; `Instance.node` says who shares a host.

    Parameters
    ----------
    intra, inter
        Links between GPUs of one host, and of different hosts.
    hierarchical
        False: a token travels once to every destination GPU. True: once to every
        destination host, to the GPU of the sender's rank there, and on from it.
    """

    intra: Link
    inter: Link
    hierarchical: bool = False


_NVLINK = Link(alpha_us=6.0, gb_per_s=350.0)

#: Typical machines. Bandwidths are what an all-to-all reaches, below the data sheets.
PRESETS: dict[str, Topology] = {
    "nvlink-host": Topology(_NVLINK, _NVLINK),
    "400g-hosts": Topology(_NVLINK, Link(18.0, 45.0), hierarchical=True),
    "400g-hosts-flat": Topology(_NVLINK, Link(18.0, 45.0)),
    "nvl72": Topology(Link(6.0, 700.0), Link(6.0, 700.0)),
    "pcie-box": Topology(Link(10.0, 20.0), Link(25.0, 10.0)),
}


def topology(name: str) -> Topology:
    """Look a typical machine up.

    Raises
    ------
    ValueError
        Unknown name; the message gives the nearest one.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"topology {name!r} is unknown; {hint}known: {', '.join(PRESETS)}"
        )
    return PRESETS[name]
