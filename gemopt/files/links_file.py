"""Measured links: times of an all-to-all and the alpha-beta lines fitted to them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError
from gemopt.files.json_text import dump_json
from gemopt.files.schema import Document, read_document
from gemopt.model.topology import Link, Topology

FORMAT = "gemopt-links"
VERSION = 1

Reach = Literal["intra", "inter"]


@dataclass(frozen=True)
class LinkPoint:
    """One measured size of an all-to-all.

    Attributes
    ----------
    reach
        ``"intra"``: all GPUs on one host; ``"inter"``: one GPU of each host takes part.
    gpus
        GPUs that took part.
    bytes_sent
        Bytes that leave each GPU in one all-to-all; what it keeps for itself is not
        counted.
    samples_us
        Raw times of one all-to-all, us, each > 0: of the slowest GPU.
    extra
        Anything else that the measurement notes, JSON-able.
    """

    reach: Reach
    gpus: int
    bytes_sent: int
    samples_us: tuple[float, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredLinks:
    """Links of a machine as measured.

    Attributes
    ----------
    name
        Label.
    device, measurement
        Free JSON-able records: cards, links and drivers; how it was timed.
    intra, inter
        Fitted links: an all-to-all in which b bytes leave each GPU takes
        ``alpha_us + b / gb_per_s``. `inter` is None when one host was measured.
    hierarchical
        The library sends a token once to each host, see `gemopt.Topology`.
    validation
        Errors on points that the fit did not see, JSON-able, units in the key names.
    points
        Raw measurements.
    """

    name: str
    intra: Link
    inter: Link | None = None
    hierarchical: bool = False
    device: Mapping[str, Any] = field(default_factory=dict)
    measurement: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[LinkPoint, ...] = ()

    def topology(self, hosts: int = 1) -> Topology:
        """Topology of so many hosts.

        Raises
        ------
        ValueError
            Several hosts, but only links within one were measured.
        """
        if hosts > 1 and self.inter is None:
            raise ValueError(
                f"links {self.name!r} were measured within one host (inter is null), "
                f"{hosts} hosts are asked for; measure between hosts too"
            )
        return Topology(self.intra, self.inter or self.intra, self.hierarchical)


class LinkDoc(Document):
    """`gemopt.model.topology.Link`."""

    alpha_us: float = Field(ge=0, allow_inf_nan=False)
    gb_per_s: float = Field(gt=0, allow_inf_nan=False)

    def link(self) -> Link:
        """Return the link."""
        return Link(self.alpha_us, self.gb_per_s)


class PointDoc(Document):
    """One raw point; further keys are kept."""

    model_config = ConfigDict(extra="allow")

    reach: Reach
    gpus: int = Field(ge=2)
    bytes_sent: int = Field(ge=0)
    samples_us: list[float] = Field(min_length=1)


class LinksDoc(Document):
    """The whole document, without format and version."""

    name: str
    device: dict[str, Any]
    measurement: dict[str, Any]
    hierarchical: bool
    intra: LinkDoc
    inter: LinkDoc | None
    validation: dict[str, Any]
    points: list[PointDoc]


def save_links(links: MeasuredLinks, path: str | Path) -> None:
    """Write measured links, by custom ``NAME.links.json``.

    Raises
    ------
    ValueError
        A record that JSON cannot hold.
    OSError
        The file cannot be written.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": links.name,
        "device": dict(links.device),
        "measurement": dict(links.measurement),
        "hierarchical": links.hierarchical,
        "intra": asdict(links.intra),
        "inter": None if links.inter is None else asdict(links.inter),
        "validation": dict(links.validation),
        "points": [
            {
                "reach": point.reach,
                "gpus": point.gpus,
                "bytes_sent": point.bytes_sent,
                "samples_us": list(point.samples_us),
                **point.extra,
            }
            for point in links.points
        ],
    }
    write_text(path, dump_json(document))


def load_links(path: str | Path) -> MeasuredLinks:
    """Read measured links.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit.
    OSError
        The file cannot be read.
    """
    doc = read_document(Path(path), LinksDoc, FORMAT, VERSION)
    return MeasuredLinks(
        name=doc.name,
        intra=doc.intra.link(),
        inter=None if doc.inter is None else doc.inter.link(),
        hierarchical=doc.hierarchical,
        device=doc.device,
        measurement=doc.measurement,
        validation=doc.validation,
        points=tuple(
            LinkPoint(
                point.reach,
                point.gpus,
                point.bytes_sent,
                tuple(point.samples_us),
                point.model_extra or {},
            )
            for point in doc.points
        ),
    )


def read_topology(path: str | Path, hosts: int) -> Topology:
    """Topology of so many hosts from a file of measured links.

    Raises
    ------
    FileError
        As `load_links`; or several hosts, but only one was measured.
    OSError
        The file cannot be read.
    """
    try:
        return load_links(path).topology(hosts)
    except FileError:
        raise
    except ValueError as error:
        raise FileError(path, str(error)) from error
