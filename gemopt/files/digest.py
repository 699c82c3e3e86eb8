"""Fingerprint of what an instance asks, whatever its files look like."""

import hashlib

import numpy as np

from gemopt.files import comm_doc
from gemopt.files.json_text import compact
from gemopt.files.latency_doc import dump_latency
from gemopt.model.instance import Instance


def instance_digest(instance: Instance) -> str:
    """SHA-256 of the question that `instance` asks, as ``sha256:...``.

    Covers counts, weights, latency models, slots, nodes, layer ids, communication
    and the dispatch.
    Names and provenance are left out, and so is the form of the file: an inline trace
    and a sidecar give the same digest.
    """
    digest = hashlib.sha256(b"gemopt-instance-1")
    for array in (instance.slots, instance.node, instance.layer_ids):
        _add(digest, array, "<i8")
    _add(digest, instance.loads, "<i8")
    _add(digest, instance.weights, "<f8")
    for model in instance.latency:
        digest.update(compact(dump_latency(model)).encode())
    if instance.dispatch != "even":
        digest.update(instance.dispatch.encode())
    if instance.comm is not None:
        digest.update(compact(comm_doc.dump(instance.comm)).encode())
        for name, array in sorted(comm_doc.arrays(instance.comm).items()):
            digest.update(name.encode())
            _add(digest, array, array.dtype.newbyteorder("<").str)
    return f"sha256:{digest.hexdigest()}"


def _add(digest: "hashlib._Hash", array: np.ndarray, dtype: str) -> None:
    digest.update(compact(list(array.shape)).encode())
    digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
