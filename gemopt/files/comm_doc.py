"""The communication of an instance: links in the document, arrays in a sidecar."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.files.atomic import write_bytes
from gemopt.files.errors import FileError
from gemopt.files.links_file import LinkDoc
from gemopt.files.schema import Document
from gemopt.files.tensors import checked_sidecar, read_tensors, tensor_bytes
from gemopt.model.communication import Communication
from gemopt.model.tokens import TokenRouting
from gemopt.model.topology import Topology

FORMAT = "gemopt-communication"
VERSION = 1
SUFFIX = ".comm.safetensors"


class TopologyDoc(Document):
    """`gemopt.model.topology.Topology`."""

    intra: LinkDoc
    inter: LinkDoc
    hierarchical: bool


class CommunicationDoc(Document):
    """`gemopt.model.communication.Communication`; the arrays lie in `file`."""

    topology: TopologyDoc
    hidden: int
    top_k: int
    dispatch_bytes: float
    combine_bytes: float
    overlap: float
    n_group: int = 1
    topk_group: int = 1
    file: str | None = None
    sha256: str | None = None


def dump(comm: Communication) -> dict[str, Any]:
    """Turn links and sizes into a document; `arrays` are apart."""
    document = {
        "topology": asdict(comm.topology),
        "hidden": comm.hidden,
        "top_k": comm.top_k,
        "dispatch_bytes": comm.dispatch_bytes,
        "combine_bytes": comm.combine_bytes,
        "overlap": comm.overlap,
    }
    if comm.n_group > 1:  # left out where all tokens choose freely
        document |= {"n_group": comm.n_group, "topk_group": comm.topk_group}
    return document


def arrays(comm: Communication) -> dict[str, NDArray[Any]]:
    """Arrays of a communication by name, see `Communication` and `TokenRouting`."""
    found: dict[str, NDArray[Any]] = {"pairs": comm.pairs}
    if comm.routing is not None:
        found["expert_ids"] = comm.routing.expert_ids
        found["step_offsets"] = comm.routing.step_offsets
        if comm.routing.source is not None:
            found["source"] = comm.routing.source
    return found


def save_arrays(comm: Communication, path: Path) -> None:
    """Write the arrays to a safetensors file, the same bytes every time.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    tensors = {k: np.ascontiguousarray(v) for k, v in arrays(comm).items()}
    write_bytes(path, tensor_bytes(tensors, FORMAT, VERSION, {}))


def read(file: Path, doc: CommunicationDoc) -> Communication:
    """Build the communication of the instance document `file`.

    Raises
    ------
    FileError
        The sidecar is missing or another one, or a value does not fit.
    """
    sidecar = checked_sidecar(file, "communication", doc.file, doc.sha256)
    _, tensors = read_tensors(sidecar, FORMAT, VERSION)
    if "pairs" not in tensors:
        raise FileError(sidecar, "tensor pairs is missing")
    links = doc.topology
    pairs = tensors["pairs"]
    pairs.setflags(write=False)
    try:
        return Communication(
            topology=Topology(
                links.intra.link(), links.inter.link(), links.hierarchical
            ),
            hidden=doc.hidden,
            top_k=doc.top_k,
            pairs=pairs,
            dispatch_bytes=doc.dispatch_bytes,
            combine_bytes=doc.combine_bytes,
            overlap=doc.overlap,
            routing=_routing(sidecar, tensors, doc),
            n_group=doc.n_group,
            topk_group=doc.topk_group,
        )
    except ValueError as error:
        raise FileError(file, f"communication: {error}") from error


def _routing(
    sidecar: Path, tensors: dict[str, NDArray[Any]], doc: CommunicationDoc
) -> TokenRouting | None:
    if "expert_ids" not in tensors:
        return None
    if "step_offsets" not in tensors:
        raise FileError(sidecar, "tensor step_offsets is missing")
    return TokenRouting.from_arrays(
        tensors["expert_ids"],
        tensors["step_offsets"],
        tensors.get("source"),
        n_group=doc.n_group,
        topk_group=doc.topk_group,
    )
