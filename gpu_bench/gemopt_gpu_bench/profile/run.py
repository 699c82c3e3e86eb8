"""A run: shapes x devices x limits; points kept on the way, one file for each shape."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.hosts.devices import Ceilings
from gemopt_gpu_bench.hosts.ranks import (
    DoesNotFit,
    Group,
    host_name,
    hosts_of,
    on_all,
    own_devices,
)
from gemopt_gpu_bench.profile.document import to_profile
from gemopt_gpu_bench.profile.options import Options
from gemopt_gpu_bench.profile.profile import Progress, make_layer, profile
from gemopt_gpu_bench.profile.settings import Settings

if TYPE_CHECKING:
    from gemopt.files.profile_file import Profile

#: Settings that a profile holds, by which it is recognised.
STORED = (
    *("model", "hidden", "intermediate", "experts", "total_experts"),
    *("backend", "mode", "max_tokens", "seed"),
)


@dataclass(frozen=True)
class Task:
    """One shape and the file that its profiles go to."""

    settings: Settings
    output: Path


@dataclass
class ProfileRun:
    """Profiles of shapes on the devices of this process and, with a group, of others.

    Parameters
    ----------
    devices
        Devices of this process, measured one after another.
    group
        The processes that measure at the same time.
    sm_limits
        Multiprocessors of each profile of a device; None means one with all of them.
    trace
        Routing counts ``[steps, layers, experts]`` to draw vectors from, or None.
    resume
        Keep finished files and go on with unfinished ones.
    progress
        Called after each point of this process.
    """

    devices: Sequence[torch.device]
    group: Group
    sm_limits: Sequence[int] | None = None
    trace: NDArray[np.int64] | None = None
    resume: bool = False
    progress: Progress = lambda done, planned, text: None
    _ceilings: dict[torch.device, Ceilings] = field(default_factory=dict)

    def finished(self, task: Task) -> bool:
        """Tell whether the file of `task` is there to be kept; rank 0 decides.

        Raises
        ------
        ValueError
            The file is there, but of other settings.
        """

        def here() -> str:
            kept = self.resume and self.group.rank == 0 and task.output.exists()
            if kept:
                _require_same(task)
            return json.dumps(kept)

        return on_all(self.group, here)[0] == "true"

    def measure(self, task: Task) -> "tuple[Profile, ...]":
        """Measure one shape everywhere; rank 0 writes the file.

        Returns
        -------
        tuple of Profile
            One for each device and limit of all processes, on every rank.

        Raises
        ------
        DoesNotFit
            The weights exceed the memory of a device.
        ValueError
            A process cannot do what was asked for.
        OSError
            A file cannot be written.
        """
        from gemopt.files.profile_set import save_profiles

        task.output.parent.mkdir(parents=True, exist_ok=True)
        on_all(self.group, str)  # so that all begin together
        if self.group.size == 1:
            profiles = distinct(self._placed(self._here(task), 0, 0))
        else:
            profiles = self._gathered(task)
        if self.group.rank == 0:
            save_profiles(profiles, task.output)
        for journal in self.journals(task).values():
            journal.unlink(missing_ok=True)
        return profiles

    def journals(self, task: Task) -> dict[tuple[int, int | None], Path]:
        """Where points are kept until the file is whole, by (device, limit)."""
        stem = task.output.name.removesuffix(".profile.json")
        paths = {}
        for i in range(len(self.devices)):
            for limit in self.sm_limits or (None,):
                label = f"{self.group.rank}-{i}" + (f"-{limit}sm" if limit else "")
                name = f"{stem}.{label}.points.jsonl"
                paths[i, limit] = task.output.with_name(name)
        return paths

    def _here(self, task: Task) -> "list[Profile]":
        """Profiles of this process."""
        journals, profiles = self.journals(task), []
        for i, device in enumerate(self.devices):
            layer = _layer(task.settings, device)
            for limit in self.sm_limits or (None,):
                outcome = profile(
                    task.settings,
                    device,
                    layer=layer,
                    sm_limit=limit,
                    trace=self.trace,
                    journal=journals[i, limit],
                    resume=self.resume,
                    progress=self.progress,
                )
                profiles.append(to_profile(outcome, self._best(device)))
                del outcome
            del layer
            devices.empty_cache(device)
        return profiles

    def _best(self, device: torch.device) -> Ceilings | None:
        if device.type == "cpu":
            return None
        if device not in self._ceilings:
            self._ceilings[device] = devices.measure_ceilings(device)
        return self._ceilings[device]

    def _gathered(self, task: Task) -> "tuple[Profile, ...]":
        """Profiles of all processes, which travel as JSON."""
        from gemopt.files.profile_file import ProfileDoc, from_document, profile_body

        def text() -> str:
            bodies = [profile_body(each) for each in self._here(task)]
            return json.dumps({"host": host_name(), "profiles": bodies})

        answers = [json.loads(each) for each in on_all(self.group, text)]
        hosts = hosts_of([answer["host"] for answer in answers])
        found: list[Profile] = []
        for rank, (host, answer) in enumerate(zip(hosts, answers, strict=True)):
            documents = map(ProfileDoc.model_validate, answer["profiles"])
            found += self._placed(map(from_document, documents), host, rank)
        return distinct(found)

    def _placed(
        self, profiles: "Iterable[Profile]", host: int, rank: int
    ) -> "list[Profile]":
        """Note in profiles where they were measured."""
        place = {"host": host, "rank": rank, "together": self.group.size}
        return [replace(p, device={**p.device, **place}) for p in profiles]


def prepare(options: Options, group: Group) -> tuple[ProfileRun, list[Task], list[str]]:
    """Turn options into a run and its tasks, and warnings for people.

    Raises
    ------
    ValueError
        No such device, shape or file, or an option that does not fit it.
    """
    found: list[torch.device] = []

    def own() -> str:
        found.extend(own_devices(devices.find(options.device)))
        return json.dumps([devices.card_name(device) for device in found])

    cards = [name for text in on_all(group, own) for name in json.loads(text)]
    limits = options.limits()
    kind = found[0].type
    chosen = options.settings(kind, len(cards) * len(limits or (0,)))
    card = "+".join(dict.fromkeys(cards))
    outputs = options.outputs(card, chosen)
    tasks = [Task(*each) for each in zip(chosen, outputs, strict=True)]
    if not options.force:
        names = {str(devices.describe(d, devices.clocks_of(d))["name"]) for d in found}
        on_all(group, lambda: _refuse_other(tasks, names) if group.rank == 0 else "")
    run = ProfileRun(found, group, limits, options.counts(), options.resume)
    warnings = [line for device in dict.fromkeys(found) for line in _busy(device)]
    if kind == "cpu":
        torch.set_num_threads(1)  # more gain nothing on small layers, and add noise
        warnings.append(
            "a trial on the CPU: models are shrunk; figures say nothing about a GPU"
        )
    return run, tasks, warnings


def _busy(device: torch.device) -> list[str]:
    others = devices.clocks_of(device).others()
    if not others:
        return []
    ids = ", ".join(map(str, others))
    return [
        f"warning: other processes ({ids}) compute on {device}; latencies will be too "
        "high and noisy"
    ]


def _layer(settings: Settings, device: torch.device) -> Any:
    try:
        return make_layer(settings, device)
    except torch.OutOfMemoryError:
        devices.empty_cache(device)
        raise DoesNotFit(
            f"{settings.model} with experts = {settings.experts} and max_tokens = "
            f"{settings.max_tokens} does not fit into the memory of {device}; give "
            "fewer --experts or --max-tokens"
        ) from None


def distinct(profiles: "Sequence[Profile]") -> "tuple[Profile, ...]":
    """Number profiles that have the same name: H100-0, H100-1."""
    names = Counter(each.name for each in profiles)
    seen: Counter[str] = Counter()
    result = []
    for each in profiles:
        if names[each.name] > 1:
            name = f"{each.name}-{seen[each.name]}"
            seen[each.name] += 1
            each = replace(each, name=name)
        result.append(each)
    return tuple(result)


def _refuse_other(tasks: Sequence[Task], names: set[str]) -> str:
    """Raise rather than write over a profile of another device or model."""
    from gemopt.files.profile_set import load_profiles

    for task in tasks:
        if not task.output.exists():
            continue
        for each in load_profiles(task.output):
            card, model = each.device.get("name"), each.shape.get("model")
            if card not in names or model != task.settings.model:
                raise ValueError(
                    f"{task.output}: holds a profile of {model} on {card}, this one is "
                    f"of {task.settings.model} on {', '.join(sorted(names))}; give "
                    "another --output, or --force to replace it"
                )
    return ""


def _require_same(task: Task) -> None:
    """Refuse to keep a file that was made with other settings."""
    from gemopt.files.profile_set import load_profiles

    wanted = task.settings
    for each in load_profiles(task.output):
        record = {**each.shape, **each.measurement, "backend": each.backend["name"]}
        for name in STORED:
            if record.get(name) != getattr(wanted, name):
                raise ValueError(
                    f"{task.output}: has {name} = {record.get(name)!r}, not "
                    f"{getattr(wanted, name)!r}; give another --output, or leave "
                    "--resume out to measure anew"
                )
