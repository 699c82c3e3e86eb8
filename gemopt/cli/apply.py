"""``gemopt apply``: put a placement into a checkpoint."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gemopt.cli.common import JsonOption, print_json


def command(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with safetensors.")],
    placement: Annotated[Path, typer.Argument(help="Placement file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Load both and compare logits on random tokens."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Renumber the experts of a checkpoint as a placement says; outputs stay equal."""
    from gemopt.checkpoint import apply_checkpoint, compare_logits
    from gemopt.files.placement_file import read_placement

    saved = read_placement(placement)
    done = apply_checkpoint(
        checkpoint,
        saved.placement,
        output,
        layer_ids=saved.layer_ids.tolist(),
        on_shard=_show_shard if sys.stderr.isatty() else None,
    )
    check = compare_logits(checkpoint, output) if verify else None
    if as_json:
        report = asdict(done) | {"output": str(output)}
        if check is not None:
            report["logits"] = asdict(check) | {"same": check.same}
        print_json(report)
    else:
        print(
            f"{output}: {done.family}, {done.moved} experts of "
            f"{len(done.layer_ids)} layers have a new number; {done.shards} files, "
            f"{done.num_bytes / 2**30:.2f} GiB, checksums of all experts agree"
        )
        if done.resumed:
            print(f"  {done.resumed} files were finished by an earlier run")
        if done.unmapped:
            layers = ", ".join(map(str, done.unmapped))
            print(f"  layers without a row in the placement stay as they are: {layers}")
        if check is not None:
            print(
                f"  logits {'agree' if check.same else 'DIFFER'}: largest difference "
                f"{check.largest_difference:.3g}, largest logit "
                f"{check.largest_logit:.3g}"
            )
    return 0 if check is None or check.same else 1


def _show_shard(done: int, total: int) -> None:
    end = "\r\x1b[K" if done == total else ""
    text = f"\r\x1b[Kapply: {done} of {total} files"
    print(text + end, end="", file=sys.stderr, flush=True)
