"""``gemopt instances``: what is in the instances folder."""

from __future__ import annotations

from gemopt.cli.common import (
    InstancesOption,
    JsonOption,
    microseconds,
    print_json,
    print_table,
)


def command(instances: InstancesOption = None, as_json: JsonOption = False) -> int:
    """List the saved instances with their sizes and best known values."""
    from gemopt.files.best_known import read_best_known
    from gemopt.files.catalog import folder, read_catalog

    root = folder(instances)
    catalog, known = read_catalog(root), read_best_known(root)
    if as_json:
        entries = [
            {
                **entry.model_dump(),
                "best_known": known[entry.name].model_dump()
                if entry.name in known
                else None,
            }
            for entry in catalog.instances
        ]
        print_json(entries)
        return 0
    rows = []
    for entry in catalog.instances:
        best = known.get(entry.name)
        value = best.value_us if best and best.value_us is not None else float("nan")
        sizes = (entry.gpus, entry.experts, entry.slots, entry.layers, entry.steps)
        rows.append(
            [
                entry.name,
                *map(str, sizes),
                ",".join(entry.latency),
                best.tag if best else "unkn",
                microseconds(value),
            ]
        )
    sizes_header = ["GPUs", "experts", "slots", "layers", "steps"]
    header = ["instance", *sizes_header, "latency", "tag", "best us"]
    print_table(header, rows)
    return 0
