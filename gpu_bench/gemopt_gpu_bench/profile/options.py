"""What one run is asked for: from options of the command line to shapes and devices."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemopt.traffic.shapes import SHAPES
from gemopt_gpu_bench import backends
from gemopt_gpu_bench.profile.settings import (
    TRIAL_TOKENS,
    TRIAL_VECTORS,
    Settings,
    settings_for,
    trial,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIX = ".profile.json"
MAX_TOKENS = 8192


@dataclass(frozen=True)
class Options:
    """Options of ``gemopt profile``; None means the default that fits the device."""

    shapes: tuple[str, ...] = ()
    hidden: int | None = None
    intermediate: int | None = None
    experts: int | None = None
    total_experts: int | None = None
    output: Path = Path()
    backend: str | None = None
    device: str = "auto"
    sm_limit: str | None = None
    concurrent: bool = False
    mode: str | None = None
    max_tokens: int | None = None
    trace: Path | None = None
    resume: bool = False
    force: bool = False
    seed: int = 0

    def arguments(self) -> list[str]:
        """Options as a command line, without those that are not set."""
        words = list(self.shapes)
        for each in fields(self)[1:]:
            value, name = getattr(self, each.name), each.name.replace("_", "-")
            if value is True:
                words.append(f"--{name}")
            elif value is not None and value is not False:
                words += [f"--{name}", str(value)]
        return words

    def limits(self) -> tuple[int, ...] | None:
        """Multiprocessors of each limited profile.

        Raises
        ------
        ValueError
            No list of whole numbers.
        """
        if self.sm_limit is None:
            return None
        try:
            return tuple(int(part) for part in self.sm_limit.split(","))
        except ValueError:
            raise ValueError(
                f"--sm-limit = {self.sm_limit!r} must be whole numbers: 132,120,104"
            ) from None

    def settings(self, device_type: str, gpus: int) -> list[Settings]:
        """Settings of each shape for `gpus` profiles on a kind of device.

        On the CPU named models are shrunk: a trial of the plan, not a measurement.

        Raises
        ------
        ValueError
            Unknown shape, or sizes that make no layer.
        """
        on_cpu = device_type == "cpu"
        others: dict[str, Any] = {
            "backend": self.backend or backends.default(device_type),
            "mode": self.mode or ("sustained" if self.concurrent else "burst"),
            "max_tokens": self.max_tokens or (TRIAL_TOKENS if on_cpu else MAX_TOKENS),
            "seed": self.seed,
        }
        if on_cpu:
            others["most_vectors"] = TRIAL_VECTORS
        sizes = {
            "hidden": self.hidden,
            "intermediate": self.intermediate,
            "experts": self.experts,
            "total_experts": self.total_experts,
        }
        if not self.shapes and (self.hidden or self.intermediate):
            made = settings_for(None, **sizes, **others)
            if self.total_experts is None:
                made = replace(made, total_experts=made.experts * gpus)
            return [made]
        if len(self.shapes) != 1 and any(sizes.values()):
            raise ValueError(
                "--hidden, --intermediate, --experts and --total-experts go with one "
                f"shape or none, not with {len(self.shapes) or len(SHAPES)}"
            )
        chosen = [
            settings_for(name, **sizes, **others) for name in self.shapes or SHAPES
        ]
        return [trial(each) for each in chosen] if on_cpu else chosen

    def outputs(self, card: str, chosen: Sequence[Settings]) -> list[Path]:
        """File of each shape: `output` itself, or named files in that folder.

        Raises
        ------
        ValueError
            One file for several shapes.
        """
        if self.output.name.endswith(SUFFIX):
            if len(chosen) > 1:
                raise ValueError(
                    f"--output {self.output}: {len(chosen)} shapes need a folder"
                )
            return [self.output]
        return [self.output / self._name(card, each) for each in chosen]

    def _name(self, card: str, settings: Settings) -> str:
        parts = [card, settings.model.replace("/", "_"), f"e{settings.experts}"]
        if self.sm_limit is not None:
            parts.append(f"sm{self.sm_limit.replace(',', '_')}")
        if settings.mode != "burst":
            parts.append(settings.mode)
        if self.backend not in (None, backends.USUAL):
            parts.append(settings.backend)
        return "-".join(parts).lower() + SUFFIX

    def counts(self) -> "NDArray[np.int64] | None":
        """Routing ``[steps, layers, experts]`` of `trace`."""
        if self.trace is None:
            return None
        from gemopt.files.routing_file import read_routing

        return read_routing(self.trace).counts
