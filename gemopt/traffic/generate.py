"""Seeded synthetic traffic of several families."""

from collections.abc import Callable

import numpy as np

from gemopt.traffic.bursts import burst_shares
from gemopt.traffic.draw import Floats, Ints, draw_counts

ZIPF_EXPONENT = 1.0


def uniform_shares(rng: np.random.Generator, steps: int, experts: int) -> Floats:
    """Every expert alike at every step, float64 ``[steps, experts]``."""
    return np.full((steps, experts), 1.0 / experts)


def zipf_shares(rng: np.random.Generator, steps: int, experts: int) -> Floats:
    """The expert of rank r gets 1/r, in an order drawn once ``[steps, experts]``."""
    shares = np.arange(1.0, experts + 1.0) ** -ZIPF_EXPONENT
    return np.tile(rng.permutation(shares / shares.sum()), (steps, 1))


#: Families by name. Each takes (rng, steps, experts) and gives the shares of one layer.
FAMILIES: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "bursts": burst_shares,
    "uniform": uniform_shares,
    "zipf": zipf_shares,
}


def generate(
    steps: int,
    layers: int,
    experts: int,
    *,
    tokens: int,
    top_k: int,
    family: str = "bursts",
    seed: int = 0,
) -> Ints:
    """Generate synthetic traffic; the same arguments give the same counts anywhere.

    Layer l draws only from ``default_rng([seed, l])``, so that fewer layers give the
    first layers of more.

    Parameters
    ----------
    steps, layers, experts
        Sizes of the trace, each >= 1.
    tokens, top_k
        Tokens of a step, and different experts that each of them takes.
    family
        ``"bursts"`` (consistent experts, and temporal ones whose bursts come in groups;
        the GEM paper's statistics), ``"uniform"`` or ``"zipf"``.
    seed
        Seed, a whole number >= 0.

    Returns
    -------
    numpy.ndarray
        Token-expert assignments, int64 ``[steps, layers, experts]``. Every layer of a
        step sums to ``tokens * top_k``; no expert gets more than `tokens`.

    Raises
    ------
    ValueError
        A size below 1, `top_k` above `experts`, an unknown family, a negative seed.

    References
    ----------
    GEM (arXiv 2605.19945): consistent and temporal experts.
    """
    check_sizes(steps, layers, experts, tokens, top_k, family, seed)
    counts = np.empty((steps, layers, experts), dtype=np.int64)
    for layer in range(layers):
        rng, shares = family_shares(family, seed, layer, steps, experts)
        counts[:, layer] = draw_counts(rng, shares, tokens, top_k)
    return counts


def check_sizes(
    steps: int,
    layers: int,
    experts: int,
    tokens: int,
    top_k: int,
    family: str,
    seed: int,
) -> None:
    """Raise ValueError, as `generate` says, unless these can be drawn from."""
    sizes = {"steps": steps, "layers": layers, "experts": experts}
    for name, value in {**sizes, "tokens": tokens, "top_k": top_k}.items():
        if value < 1:
            raise ValueError(f"{name} = {value} must be at least 1")
    if top_k > experts:
        raise ValueError(f"top_k = {top_k} is more than the {experts} experts")
    if seed < 0:
        raise ValueError(f"seed = {seed} must be >= 0")
    if family not in FAMILIES:
        raise ValueError(f"family {family!r} is unknown; known: {', '.join(FAMILIES)}")


def family_shares(
    family: str, seed: int, layer: int, steps: int, experts: int
) -> tuple[np.random.Generator, Floats]:
    """Generator of a layer, and its shares ``[steps, experts]`` drawn from it."""
    rng = np.random.default_rng([seed, layer])
    return rng, FAMILIES[family](rng, steps, experts)
