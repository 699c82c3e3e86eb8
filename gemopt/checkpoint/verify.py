"""Check written weights against the source, expert by expert."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from gemopt.arrays import Ints
from gemopt.checkpoint.families import Family
from gemopt.checkpoint.journal import Digests, Journal
from gemopt.files.errors import FileError


def require_same_experts(
    family: Family, rows: Mapping[int, Ints], journal: Journal
) -> dict[int, list[str]]:
    """Check that new expert s is old expert row[s] in every byte.

    Looks at names, checksums and the placement only, not at the moves that were
    planned. Returns the checksum of each new expert by layer.
    """
    done = journal.finished.values()
    before = expert_checksums(family, [item.source for item in done], rows)
    after = expert_checksums(family, [item.output for item in done], rows)
    for layer, row in rows.items():
        for new, old in enumerate(row.tolist()):
            if after[layer][new] != before[layer][old]:
                raise FileError(
                    journal.folder,
                    f"layer {layer}: expert {new} is not the source's expert {old}",
                )
    return after


def expert_checksums(
    family: Family, parts: Iterable[Digests], rows: Mapping[int, Ints]
) -> dict[int, list[str]]:
    """Combine checksums of tensors to one per expert, by mapped layer."""
    pieces: dict[int, list[list[str]]] = {
        layer: [[] for _ in row] for layer, row in rows.items()
    }
    for digest in parts:
        for name, sums in digest.items():
            part = family.part(name)
            if part is None or part.layer not in pieces:
                continue
            of_layer = pieces[part.layer]
            if part.kind == "expert":
                of_layer[part.expert].append(f"{part.role}:{sums[0]}")
            elif part.kind in ("packed", "router") and len(sums) == len(of_layer):
                for expert, value in enumerate(sums):
                    of_layer[expert].append(f"{part.role}:{value}")
    return {
        layer: [
            hashlib.blake2b(" ".join(sorted(own)).encode(), digest_size=16).hexdigest()
            for own in of_layer
        ]
        for layer, of_layer in pieces.items()
    }
