"""Instances as one JSON document, with a safetensors sidecar for a large trace."""

from pathlib import Path
from typing import Any

import numpy as np

from gemopt.files import comm_doc
from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError
from gemopt.files.json_text import dump_json
from gemopt.files.latency_doc import LatencyDoc, dump_latency
from gemopt.files.schema import Document, read_document
from gemopt.files.sha256 import file_sha256
from gemopt.files.tensors import checked_sidecar
from gemopt.files.trace_file import SUFFIX, load_trace, save_trace
from gemopt.model.instance import Instance
from gemopt.model.trace import RoutingTrace

FORMAT = "gemopt-instance"
VERSION = 1
#: Traces of at most this many counts are written into the document.
INLINE_COUNTS = 2**16


class GpuDoc(Document):
    """One GPU."""

    name: str
    slots: int
    node: int
    latency: LatencyDoc


class TraceDoc(Document):
    """The routing: inline `counts`, or the name and hash of a file beside this one."""

    steps: int
    counts: list[Any] | None = None  # [steps, layers, experts]; checked with numpy
    weights: list[float] | None = None
    file: str | None = None
    sha256: str | None = None


class InstanceDoc(Document):
    """The whole document, without format and version."""

    name: str
    provenance: dict[str, Any]
    experts: int
    layer_ids: list[int]
    gpus: list[GpuDoc]
    communication: comm_doc.CommunicationDoc | None = None
    dispatch: str = "even"
    trace: TraceDoc


def save(instance: Instance, path: str | Path, inline: bool | None = None) -> None:
    """Write an instance file.

    Parameters
    ----------
    instance
        The instance.
    path
        Target, by custom ``NAME.json``; a sidecar becomes ``NAME.trace.safetensors``
        in the same folder.
    inline
        Whether the trace goes into the document; None means up to 65,536 counts.

    Raises
    ------
    ValueError
        Provenance that JSON cannot hold, or a latency model of a foreign class.
    OSError
        A file cannot be written; the old files are left as they were.
    """
    target = Path(path)
    if inline is None:
        inline = instance.loads.size <= INLINE_COUNTS
    document = _document(instance, inline)
    dump_json(document)  # complains before any file is touched
    if not inline:
        sidecar = target.with_name(target.stem + SUFFIX)
        counts = np.ascontiguousarray(instance.counts)
        trace = RoutingTrace(
            counts, instance.layer_ids, instance.weights, instance.name
        )
        save_trace(trace, sidecar)
        document["trace"] |= {"file": sidecar.name, "sha256": file_sha256(sidecar)}
    if instance.comm is not None:
        sidecar = target.with_name(target.stem + comm_doc.SUFFIX)
        comm_doc.save_arrays(instance.comm, sidecar)
        document["communication"] |= {
            "file": sidecar.name,
            "sha256": file_sha256(sidecar),
        }
    write_text(target, dump_json(document))


def read(path: str | Path) -> Instance:
    """Read an instance file; see `gemopt.load` for names.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit.
    OSError
        The file cannot be read.
    """
    file = Path(path)
    doc = read_document(file, InstanceDoc, FORMAT, VERSION)
    counts, weights = _routing(file, doc)
    comm = None
    if doc.communication is not None:
        comm = comm_doc.read(file, doc.communication)
    try:
        instance = Instance.from_arrays(
            counts,
            [gpu.latency.model() for gpu in doc.gpus],
            slots=[gpu.slots for gpu in doc.gpus],
            node=[gpu.node for gpu in doc.gpus],
            layer_ids=doc.layer_ids,
            weights=weights,
            comm=comm,
            dispatch=doc.dispatch,
            name=doc.name,
            gpu_names=[gpu.name for gpu in doc.gpus],
            provenance=doc.provenance,
        )
    except ValueError as error:
        raise FileError(file, str(error)) from error
    for field, told, found in (
        ("experts", doc.experts, instance.num_experts),
        ("trace.steps", doc.trace.steps, instance.num_steps),
    ):
        if told != found:
            raise FileError(file, f"{field} = {told}, but the trace has {found}")
    return instance


def _document(instance: Instance, inline: bool) -> dict[str, Any]:
    """Return the document, without the names of sidecars."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": instance.name,
        "provenance": dict(instance.provenance),
        "experts": instance.num_experts,
        "layer_ids": instance.layer_ids.tolist(),
        "gpus": [_gpu(instance, g) for g in range(instance.num_gpus)],
    }
    if instance.dispatch != "even":
        document["dispatch"] = instance.dispatch
    if instance.comm is not None:
        document["communication"] = comm_doc.dump(instance.comm)
    trace: dict[str, Any] = {"steps": instance.num_steps}
    if inline:
        if (instance.weights != 1).any():
            trace["weights"] = instance.weights.tolist()
        trace["counts"] = instance.counts.tolist()
    return {**document, "trace": trace}


def _gpu(instance: Instance, index: int) -> dict[str, Any]:
    return {
        "name": instance.gpu_names[index],
        "slots": int(instance.slots[index]),
        "node": int(instance.node[index]),
        "latency": dump_latency(instance.latency[index]),
    }


def _routing(file: Path, doc: InstanceDoc) -> tuple[Any, Any]:
    """Return counts and weights, inline or from the sidecar."""
    trace = doc.trace
    if (trace.counts is None) == (trace.file is None):
        raise FileError(file, "trace needs either counts or file, and not both")
    if trace.file is None:
        return trace.counts, trace.weights
    sidecar = checked_sidecar(file, "trace", trace.file, trace.sha256)
    routing = load_trace(sidecar)
    if routing.layer_ids.tolist() != doc.layer_ids:
        raise FileError(file, f"layer_ids = {doc.layer_ids} differ from {sidecar}")
    return routing.counts, routing.weights
