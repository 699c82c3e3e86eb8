"""Measures all-to-alls between GPUs and fits their links.

``torchrun --nproc-per-node GPUS -m gemopt_gpu_bench.links.all_to_all -o A.links.json``,
on one host or several; `gemopt build --links A.links.json` reads the result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from gemopt.files.atomic import require_writable
from gemopt.files.links_file import LinkPoint, MeasuredLinks, Reach, save_links
from gemopt.model.topology import Link
from gemopt_gpu_bench.fit.alpha_beta import fit_link, link_us
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.hosts.ranks import (
    Group,
    host_name,
    hosts_of,
    make_group,
    own_devices,
)
from gemopt_gpu_bench.measure.timing import EventTimer, Timer, make_timer
from gemopt_gpu_bench.stats import Errors, errors, summary

#: ``balanced``: every GPU sends the same to every other one. ``one_hot``: all send to
#: one, which sends nothing.
PATTERNS = ("balanced", "one_hot")
SMALLEST = 1024  # bytes that leave a GPU
LARGEST_MIB = 256
FASTEST = 900e3  # bytes per us: no link of a GPU is faster; sizes the samples
KEPT = 9  # samples of a point


def reaches(hosts: Sequence[int]) -> dict[Reach, list[list[int]]]:
    """Ranks that take part in all-to-alls within hosts, and between hosts.

    Parameters
    ----------
    hosts
        Host of each rank.

    Returns
    -------
    dict
        ``"intra"``: the ranks of each host; ``"inter"``: the first ranks of all hosts,
        the second ranks of all hosts, ... Groups of one rank are left out; all groups
        of a kind run side by side.
    """
    members = [
        [rank for rank, host in enumerate(hosts) if host == each]
        for each in sorted(set(hosts))
    ]
    longest = max(map(len, members))
    rails = [[m[i] for m in members if i < len(m)] for i in range(longest)]
    return {
        "intra": [group for group in members if len(group) > 1],
        "inter": [group for group in rails if len(group) > 1],
    }


def splits(pattern: str, size: int, sent: int) -> np.ndarray:
    """Bytes from each rank to each, int64 ``[size, size]``.

    Parameters
    ----------
    pattern
        One of `PATTERNS`.
    size
        Ranks.
    sent
        Bytes that leave a rank, about; shares are whole bytes.
    """
    volume = np.zeros((size, size), dtype=np.int64)
    if pattern == "balanced":
        volume[:] = sent // (size - 1)
        np.fill_diagonal(volume, 0)
    else:
        volume[1:, 0] = sent
    return volume


def most_bytes(volume: np.ndarray) -> int:
    """Most bytes that a rank sends or receives: what the cost of a step counts."""
    return int(max(volume.sum(axis=0).max(), volume.sum(axis=1).max()))


def sizes(largest_mib: int) -> list[int]:
    """Powers of two from `SMALLEST` to the largest number of bytes."""
    found = [SMALLEST]
    while found[-1] < largest_mib * 2**20:
        found.append(2 * found[-1])
    return found


def sweep(
    group: Group,
    hosts: Sequence[int],
    device: torch.device,
    timer: Timer,
    largest_mib: int = LARGEST_MIB,
) -> list[LinkPoint]:
    """Measure all sizes and patterns; every rank takes part and gets all points.

    Parameters
    ----------
    group
        All processes, one a GPU.
    hosts
        Host of each rank.
    device, timer
        Of this process.
    largest_mib
        Largest volume that leaves a GPU, MiB.
    """
    backend = "nccl" if device.type == "cuda" else None
    points = []
    for reach, parts in reaches(hosts).items():
        made = [dist.new_group(part, backend=backend) for part in parts]  # by all ranks
        mine = next((i for i, p in enumerate(parts) if group.rank in p), None)
        for pattern in PATTERNS:
            for sent in sizes(largest_mib) if parts else ():
                samples: list[float] = []
                if mine is not None:
                    part = parts[mine]
                    volume = splits(pattern, len(part), sent)
                    place = part.index(group.rank)
                    samples = measure(volume, place, made[mine], device, timer)
                found = [json.loads(t) for t in group.gather(json.dumps(samples))]
                slowest = np.max([each for each in found if each], axis=0)
                points.append(_point(reach, pattern, sent, parts, slowest))
    return points


def _point(
    reach: Reach, pattern: str, sent: int, parts: list[list[int]], us: np.ndarray
) -> LinkPoint:
    size = max(map(len, parts))
    volume = splits(pattern, size, sent)
    extra = {
        "pattern": pattern,
        "most_bytes": most_bytes(volume),
        "side_by_side": len(parts),
    }
    leaving = int(volume.sum(axis=1).max())
    return LinkPoint(reach, size, leaving, tuple(np.round(us, 3).tolist()), extra)


def measure(
    volume: np.ndarray,
    place: int,
    group: Any,
    device: torch.device,
    timer: Timer,
) -> list[float]:
    """Time one all-to-all on this rank.

    Parameters
    ----------
    volume
        Bytes from each rank of the group to each, ``[ranks, ranks]``.
    place
        This rank's row.
    group
        Process group.
    device, timer
        Of this process.

    Returns
    -------
    list of float
        Samples, us. The first collective, which is dropped, brings the ranks together.
    """
    give, take = volume[place].tolist(), volume[:, place].tolist()
    source = torch.full((sum(give),), place + 1, dtype=torch.uint8, device=device)
    target = torch.zeros(sum(take), dtype=torch.uint8, device=device)

    def launch(copy: int) -> torch.Tensor:
        dist.all_to_all_single(target, source, take, give, group=group)
        return target

    launch(0)  # connections are made by the first one
    samples = timer.start(launch, 1, 10.0 + most_bytes(volume) / FASTEST, KEPT)()
    senders = torch.arange(1, len(take) + 1, dtype=torch.uint8)
    expected = senders.repeat_interleave(torch.tensor(take))
    if not torch.equal(target.cpu(), expected):
        raise ValueError("all-to-all is broken: what came in is not what was sent")
    return samples


def fit(points: Sequence[LinkPoint], reach: Reach) -> tuple[Link, dict[str, Any]]:
    """Fit a link to every other balanced size and evaluate it on the other points.

    Raises
    ------
    ValueError
        Too few points, or times that do not grow.
    """
    here = [p for p in points if p.reach == reach]
    balanced = [p for p in here if p.extra["pattern"] == "balanced"]
    skewed = [p for p in here if p.extra["pattern"] == "one_hot"]
    link = fit_link(*_line(balanced[::2]))
    record: dict[str, Any] = {"fitted_points": len(balanced[::2])}
    for name, held in (("balanced", balanced[1::2]), ("one_hot", skewed)):
        if held:
            found = _errors(link, held)
            record |= {
                f"{name}_points": found.count,
                f"{name}_mape": round(found.mape, 4),
                f"{name}_p95": round(found.p95, 4),
            }
    return link, record


def _line(points: Sequence[LinkPoint]) -> tuple[list[int], list[float]]:
    return (
        [p.extra["most_bytes"] for p in points],
        [summary(p.samples_us).median for p in points],
    )


def _errors(link: Link, points: Sequence[LinkPoint]) -> Errors:
    volumes, us = _line(points)
    return errors(link_us(link, volumes), us)


def measured_links(
    points: Sequence[LinkPoint],
    name: str,
    device: dict[str, Any],
    measurement: dict[str, Any],
) -> MeasuredLinks:
    """Fit both links and put everything into one record.

    Raises
    ------
    ValueError
        A link that cannot be fitted.
    """
    kinds = {point.reach for point in points}
    fits = {reach: fit(points, reach) for reach in ("intra", "inter") if reach in kinds}
    if "intra" not in fits:
        measurement = {**measurement, "note": "one GPU a host: intra stands for inter"}
    first = fits.get("intra") or fits["inter"]
    return MeasuredLinks(
        name=name,
        intra=first[0],
        inter=fits["inter"][0] if "inter" in fits else None,
        device=device,
        measurement=measurement,
        validation={reach: record for reach, (_, record) in fits.items()},
        points=tuple(points),
    )


def table(links: MeasuredLinks) -> str:
    """Measured and fitted times as text."""
    lines = ["reach  pattern   most bytes          us      fit us    GB/s"]
    fitted = {"intra": links.intra, "inter": links.inter or links.intra}
    for point in links.points:
        volume, us = point.extra["most_bytes"], summary(point.samples_us).median
        line = float(link_us(fitted[point.reach], volume))
        lines.append(
            f"{point.reach}  {point.extra['pattern']:8s} {volume:11d} {us:11.1f} "
            f"{line:11.1f} {volume / us / 1e3:7.1f}"
        )
    for reach, record in links.validation.items():
        link = fitted[reach]
        lines.append(
            f"{reach}: alpha {link.alpha_us:.2f} us, {link.gb_per_s:.1f} GB/s; {record}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep in this process, one of those that torchrun started."""
    parser = argparse.ArgumentParser(
        "gemopt_gpu_bench.links.all_to_all", description=__doc__
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="auto", help="auto, or cpu for a trial")
    parser.add_argument("--largest", type=int, default=LARGEST_MIB, metavar="MIB")
    parser.add_argument(
        "--eager",
        action="store_true",
        help="no CUDA graphs: adds the cost of launching to small sizes",
    )
    args = parser.parse_args(argv)
    try:
        with make_group() as group:
            return _run(group, args)
    except (ValueError, OSError) as error:
        print(f"all_to_all: {error}", file=sys.stderr)
        return 2


def _run(group: Group, args: argparse.Namespace) -> int:
    if group.size < 2:
        raise ValueError(
            "one process cannot send to another; start it with "
            "torchrun --nproc-per-node GPUS -m gemopt_gpu_bench.links.all_to_all"
        )
    if group.rank == 0:
        require_writable(args.output)
    device = own_devices(devices.find(args.device))[0]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    hosts = hosts_of(group.gather(host_name()))
    eager = args.eager or device.type not in ("cpu", "cuda")
    timer = EventTimer(device) if eager and device.type != "cpu" else make_timer(device)
    points = sweep(group, hosts, device, timer, args.largest)
    if group.rank == 0:
        links = measured_links(
            points,
            args.output.name.split(".")[0],
            devices.describe(device, devices.clocks_of(device)),
            {
                "gpus": group.size,
                "hosts": len(set(hosts)),
                "backend": "nccl" if device.type == "cuda" else "gloo",
                "graphs": device.type == "cuda" and not eager,
                "samples": KEPT,
            },
        )
        save_links(links, args.output)
        print(table(links))
    return 0


if __name__ == "__main__":
    sys.exit(main())
