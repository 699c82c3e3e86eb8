"""What a profile is made of: shape, backend, mode, seed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gemopt.traffic.shapes import shape as known_shape
from gemopt_gpu_bench import backends
from gemopt_gpu_bench.profile.targets import EXPERTS_PER_GPU

#: Largest share of the time that the GPU works.
DUTY = {"burst": 0.25, "sustained": 1.0}
TARGET_MAPE = 0.03
TARGET_P95 = 0.10
TARGET_TRACE = 0.015  # MAPE on trace-like vectors
TRIAL_WIDTH = 256  # of a layer on the CPU
TRIAL_TOKENS = 256
TRIAL_VECTORS = 40


@dataclass(frozen=True)
class Settings:
    """One profile's settings, the same for all GPUs.

    Attributes
    ----------
    model
        Name of the shape, for people.
    hidden, intermediate
        Widths.
    experts, total_experts
        Experts on one GPU and in the layer. A step has ``mean * total_experts``
        token-expert assignments.
    backend
        Name of the implementation.
    max_tokens
        Largest number of assignments on one GPU.
    mode
        ``"burst"`` or ``"sustained"``.
    most_vectors
        Vectors are doubled up to this number while the targets are missed.
    seed
        Of loads, weights and order.
    """

    model: str
    hidden: int
    intermediate: int
    experts: int
    total_experts: int
    backend: str = backends.USUAL
    max_tokens: int = 8192
    mode: str = "burst"
    most_vectors: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "intermediate", "experts", "total_experts"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} = {value} must be >= 1")
        if self.experts > self.total_experts:
            raise ValueError(
                f"experts = {self.experts} per GPU exceed total_experts = "
                f"{self.total_experts} of the layer"
            )
        if self.max_tokens < self.experts:
            raise ValueError(
                f"max_tokens = {self.max_tokens} is less than {self.experts} experts"
            )
        if self.mode not in DUTY:
            raise ValueError(f"mode = {self.mode!r} must be {' or '.join(DUTY)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(hidden, intermediate, experts)."""
        return self.hidden, self.intermediate, self.experts

    @property
    def top_mean(self) -> float:
        """Largest mean tokens per expert."""
        return self.max_tokens / self.experts

    def to_json(self) -> Mapping[str, Any]:
        """All settings as JSON values."""
        return asdict(self)


def trial(settings: Settings) -> Settings:
    """Shrink a model to what a CPU measures in seconds; experts and plan stay.

    Widths are divided by the power of two that brings them to `TRIAL_WIDTH`.
    """
    factor = 1
    while max(settings.hidden, settings.intermediate) > factor * TRIAL_WIDTH:
        factor *= 2
    if factor == 1:
        return settings

    def narrow(width: int) -> int:
        return max(16, round(width / factor / 16) * 16)

    return replace(
        settings,
        model=f"{settings.model}/{factor}",
        hidden=narrow(settings.hidden),
        intermediate=narrow(settings.intermediate),
    )


def settings_for(
    model: str | None,
    *,
    hidden: int | None = None,
    intermediate: int | None = None,
    experts: int | None = None,
    total_experts: int | None = None,
    **others: Any,
) -> Settings:
    """Fill the settings in from a model's name, or take them from numbers.

    Raises
    ------
    ValueError
        Unknown model, or neither a model nor all of hidden, intermediate and experts.
    """
    if model is not None:
        shape = known_shape(model)
        return Settings(
            shape.name,
            hidden or shape.hidden,
            intermediate or shape.intermediate,
            experts or EXPERTS_PER_GPU.get(shape.name, shape.experts),
            total_experts or shape.experts,
            **others,
        )
    if hidden is None or intermediate is None or experts is None:
        raise ValueError(
            "give a model, or all of hidden, intermediate and experts "
            f"(hidden = {hidden}, intermediate = {intermediate}, experts = {experts})"
        )
    name = f"{hidden}x{intermediate}"
    total = total_experts or experts
    return Settings(name, hidden, intermediate, experts, total, **others)
