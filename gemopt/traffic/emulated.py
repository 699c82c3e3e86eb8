"""Whole instances of a known model's shape on emulated GPUs of different speed."""

from gemopt.latency.variability import SPREAD, emulated_curve, emulated_speeds
from gemopt.model.instance import Instance
from gemopt.traffic.generate import generate
from gemopt.traffic.shapes import Shape
from gemopt.traffic.synthetic import even_slots


def emulated_instance(
    sizes: Shape,
    gpus: int,
    slots: int | None = None,
    *,
    variability: str = "medium",
    steps: int = 512,
    tokens: int = 1024,
    family: str = "bursts",
    seed: int = 0,
    name: str = "",
) -> Instance:
    """Build an instance of synthetic traffic on emulated GPUs.

    Parameters
    ----------
    sizes, gpus
        Shape of the model, from `gemopt.traffic.shape`, and number of GPUs.
    slots
        Physical slots of all GPUs together, dealt evenly; None means one for each
        expert.
    variability
        How far the speeds lie apart, see `gemopt.latency.variability`.
    steps, tokens, family, seed, name
        As in `generate`, the seed also draws the speeds; and a label.

    Raises
    ------
    ValueError
        As `generate`, `emulated_speeds` and `Instance.from_arrays`.
    """
    speeds = emulated_speeds(gpus, variability, seed)
    per_gpu = even_slots(sizes.experts if slots is None else slots, gpus)
    counts = generate(
        steps,
        sizes.layers,
        sizes.experts,
        tokens=tokens,
        top_k=sizes.top_k,
        family=family,
        seed=seed,
    )
    curves = [
        emulated_curve(
            float(speed),
            experts=max(1, int(held)),
            hidden=sizes.hidden,
            intermediate=sizes.intermediate,
            max_tokens=tokens * sizes.top_k,
        )
        for speed, held in zip(speeds, per_gpu, strict=True)
    ]
    return Instance.from_arrays(
        counts,
        curves,
        slots=per_gpu,
        layer_ids=list(sizes.layer_ids),
        name=name,
        provenance=_provenance(sizes.name, family, variability, tokens, seed),
    )


def _provenance(
    model: str, family: str, variability: str, tokens: int, seed: int
) -> dict[str, str]:
    return {
        "summary": f"shape of {model}, synthetic {family}, {variability} variability",
        "routing": f"gemopt.traffic.generate, family {family}, "
        f"{tokens} tokens a step, seed {seed}",
        "hardware": "emulated L40S-class GPUs, fastest / slowest = "
        f"{1 + SPREAD[variability]:.3f}, seed {seed}",
        "source": "synthetic, after the statistics of GEM (arXiv 2605.19945)",
    }
