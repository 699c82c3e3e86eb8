"""GPU profiles: what was measured, the fits, and the latency model that was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from gemopt.files.atomic import write_text
from gemopt.files.json_text import OneLine, dump_json
from gemopt.files.latency_doc import LatencyDoc, dump_latency
from gemopt.files.schema import Document, read_document
from gemopt.latency import LatencyModel

FORMAT = "gemopt-profile"
VERSION = 1


@dataclass(frozen=True)
class ProfilePoint:
    """One measured count vector.

    Attributes
    ----------
    counts
        Tokens of each expert on the GPU.
    samples_us
        Raw times of one layer call, us, each > 0.
    extra
        Anything else that the measurement notes, JSON-able: phase, clocks, spread...
    """

    counts: tuple[int, ...]
    samples_us: tuple[float, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """One latency model fitted to the points.

    Attributes
    ----------
    latency
        The model.
    validation
        Errors on points that the fit did not see, JSON-able, units in the key names.
    """

    latency: LatencyModel
    validation: Mapping[str, Any]


@dataclass(frozen=True)
class Profile:
    """Measured latency of one GPU for one layer shape and kernel.

    Attributes
    ----------
    name
        Label of the GPU in instances.
    device, shape, backend, measurement
        Free JSON-able records: the card and its state, the sizes of the layer, the
        kernel and its versions, and how it was timed.
    points
        Raw measurements.
    fits
        Every family that was fitted.
    latency
        The chosen model: what `gemopt build` puts into an instance.
    """

    name: str
    device: Mapping[str, Any]
    shape: Mapping[str, Any]
    backend: Mapping[str, Any]
    measurement: Mapping[str, Any]
    points: tuple[ProfilePoint, ...]
    fits: tuple[Fit, ...]
    latency: LatencyModel


class PointDoc(Document):
    """One raw point; further keys are kept."""

    model_config = ConfigDict(extra="allow")

    counts: list[int] = Field(min_length=1)
    samples_us: list[float] = Field(min_length=1)


class FitDoc(Document):
    """One fit."""

    latency: LatencyDoc
    validation: dict[str, Any]


class ProfileDoc(Document):
    """The whole document, without format and version."""

    name: str
    device: dict[str, Any]
    shape: dict[str, Any]
    backend: dict[str, Any]
    measurement: dict[str, Any]
    points: list[PointDoc]
    fits: list[FitDoc]
    latency: LatencyDoc


def save_profile(profile: Profile, path: str | Path) -> None:
    """Write a profile, by custom ``NAME.profile.json``.

    Raises
    ------
    ValueError
        A record that JSON cannot hold.
    OSError
        The file cannot be written.
    """
    header = {"format": FORMAT, "version": VERSION}
    write_text(path, dump_json(header | profile_body(profile)))


def profile_body(profile: Profile) -> dict[str, Any]:
    """Build the document of a profile, without format and version."""
    return {
        "name": profile.name,
        "device": dict(profile.device),
        "shape": dict(profile.shape),
        "backend": dict(profile.backend),
        "measurement": dict(profile.measurement),
        "latency": dump_latency(profile.latency),
        "fits": [
            {"latency": dump_latency(fit.latency), "validation": dict(fit.validation)}
            for fit in profile.fits
        ],
        "points": [
            OneLine(
                counts=list(point.counts),
                samples_us=list(point.samples_us),
                **point.extra,
            )
            for point in profile.points
        ],
    }


def load_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit.
    OSError
        The file cannot be read.
    """
    return from_document(read_document(Path(path), ProfileDoc, FORMAT, VERSION))


def from_document(doc: ProfileDoc) -> Profile:
    """Build a profile from its document."""
    return Profile(
        name=doc.name,
        device=doc.device,
        shape=doc.shape,
        backend=doc.backend,
        measurement=doc.measurement,
        points=tuple(
            ProfilePoint(
                tuple(point.counts), tuple(point.samples_us), point.model_extra or {}
            )
            for point in doc.points
        ),
        fits=tuple(Fit(fit.latency.model(), fit.validation) for fit in doc.fits),
        latency=doc.latency.model(),
    )
