"""Processes that measure one GPU each: waiting for each other, gathering profiles."""

import json
import os
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

import torch
import torch.distributed as dist

PATIENCE = timedelta(hours=2)  # the slowest GPU of a cluster may be waited for


class Group(Protocol):
    """The processes of one run.

    Attributes
    ----------
    rank, size
        This process and how many there are.
    """

    rank: int
    size: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def gather(self, text: str) -> list[str]:
        """Return the texts of all ranks, in order, on every rank; waits for all."""
        ...


class Alone:
    """A run of one process."""

    rank, size = 0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def gather(self, text: str) -> list[str]:
        return [text]


class Together:
    """Processes that torchrun or `--concurrent` started, on one host or several.

    Texts travel as byte tensors over gloo, which needs no GPU; nothing is unpickled.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ["RANK"])
        self.size = int(os.environ["WORLD_SIZE"])

    def __enter__(self) -> Self:
        dist.init_process_group("gloo", timeout=PATIENCE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        dist.destroy_process_group()

    def gather(self, text: str) -> list[str]:
        mine = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(mine)]))
        most = max(int(size) for size in sizes)
        padded = torch.zeros(most, dtype=torch.uint8)
        padded[: len(mine)] = mine
        parts = [torch.empty(most, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return [
            part[: int(size)].numpy().tobytes().decode()
            for part, size in zip(parts, sizes, strict=True)
        ]


def started_together(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether torchrun, or something like it, started this process."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def make_group() -> Group:
    """The group that this process was started in."""
    return Together() if started_together() else Alone()


def own_devices(
    found: list[torch.device], environment: Mapping[str, str] = os.environ
) -> list[torch.device]:
    """Devices for this process: all of them, or the one of its local rank.

    Raises
    ------
    ValueError
        More processes on this host than devices.
    """
    if not started_together(environment):
        return found
    local = int(environment.get("LOCAL_RANK", environment["RANK"]))
    if found[0].type == "cpu":
        return [torch.device("cpu")]
    if local >= len(found):
        raise ValueError(
            f"local rank {local} has no GPU of its own: {len(found)} visible; start at "
            "most as many processes on this host"
        )
    return [found[local]]


class DoesNotFit(ValueError):
    """The weights of a shape exceed the memory of a device."""


def on_all(group: Group, work: Callable[[], str]) -> list[str]:
    """Run `work` on every rank and return what it gave, by rank.

    Raises
    ------
    ValueError, DoesNotFit
        On every rank, where `work` raised it on one; names the rank.
    """
    try:
        answer = {"text": work()}
    except ValueError as error:
        kind = "lack" if isinstance(error, DoesNotFit) else "error"
        answer = {kind: str(error)}
    answers = [json.loads(text) for text in group.gather(json.dumps(answer))]
    for rank, each in enumerate(answers):
        where = f"rank {rank}: " if group.size > 1 else ""
        if "error" in each:
            raise ValueError(where + each["error"])
        if "lack" in each:
            raise DoesNotFit(where + each["lack"])
    return [each["text"] for each in answers]


def hosts_of(names: list[str]) -> list[int]:
    """Number the hosts of all ranks in order of first appearance."""
    order = list(dict.fromkeys(names))
    return [order.index(name) for name in names]


def host_name() -> str:
    """Name of this host, for telling hosts apart; it is never written to a file."""
    return socket.gethostname()
