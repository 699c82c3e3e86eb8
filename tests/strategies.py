"""Shared hypothesis strategies: latency models, traffic, instances, placements, moves.

Sizes are tiny on purpose. `random_placement` and friends take a numpy generator and are
for plain tests as well.
"""

import numpy as np
from hypothesis import strategies as st

from gemopt.latency import LatencyModel, Line, Regimes, Roofline, TileActive, TokenCurve
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement

_US = st.floats(0.0, 50.0).map(lambda x: round(x, 3))


@st.composite
def token_curves(draw: st.DrawFn) -> TokenCurve:
    """Curves that may dip, start above 0 tokens, or have a single point."""
    size = draw(st.integers(1, 6))
    if draw(st.booleans()):  # whole tokens: the grid path of the kernels
        tokens = [float(x) for x in draw(_distinct(st.integers(0, 400), size))]
    else:  # no grid of powers of two: the binary search
        tokens = draw(_distinct(st.integers(0, 1200).map(lambda x: x / 3), size))
    us = draw(st.lists(_US, min_size=size, max_size=size))
    us[0] += 0.0 if any(us) else 1.0
    return TokenCurve(zip(tokens, us, strict=True), draw(st.sampled_from(CURVES)))


CURVES = ("step", "linear")


def _distinct(elements: st.SearchStrategy, size: int) -> st.SearchStrategy[list]:
    return st.lists(elements, min_size=size, max_size=size, unique=True).map(sorted)


@st.composite
def tile_actives(draw: st.DrawFn) -> TileActive:
    base, active, tile, token = draw(st.tuples(_US, _US, _US, _US))
    base += 0.0 if base + active + tile + token > 0 else 1.0
    return TileActive(base, active, tile, token, draw(st.sampled_from([1, 8, 48, 64])))


@st.composite
def rooflines(draw: st.DrawFn) -> Roofline:
    memory = Line(*draw(st.tuples(_US, _US, _US, _US)))
    compute = Line(1.0, 0.0, *draw(st.tuples(_US, _US)))
    power = draw(st.none() | st.floats(1.5, 8.0))
    return Roofline(memory, compute, draw(st.sampled_from([1, 16, 64])), power)


@st.composite
def regimes(draw: st.DrawFn) -> Regimes:
    """One to three parts of any other family."""
    limits = draw(_distinct(st.integers(1, 300), draw(st.integers(1, 3))))
    parts = st.one_of(token_curves(), tile_actives(), rooflines())
    return Regimes([(limit, draw(parts)) for limit in limits])


FAMILIES: dict[str, st.SearchStrategy[LatencyModel]] = {
    "token_curve": token_curves(),
    "tile_active": tile_actives(),
    "roofline": rooflines(),
    "regimes": regimes(),
}


def latency_models(*families: str) -> st.SearchStrategy[LatencyModel]:
    """Models of the named families; of every family without names."""
    return st.one_of([FAMILIES[name] for name in families or FAMILIES])


@st.composite
def traffic(draw: st.DrawFn, steps: int, layers: int, experts: int) -> np.ndarray:
    """Counts int64 ``[steps, layers, experts]`` with hot, cold and silent experts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1.0, 5.0, 60.0]))
    heat = rng.gamma(draw(st.sampled_from([0.3, 1.0, 5.0])), scale, (layers, experts))
    counts = rng.poisson(heat * rng.integers(0, 3, (steps, layers, experts)))
    return counts.astype(np.int64)


@st.composite
def slot_counts(draw: st.DrawFn, experts: int, gpus: int, extra: int) -> list[int]:
    """Slots of each GPU, unequal, maybe 0, at most `extra` more than experts."""
    total = experts + draw(st.integers(0, min(extra, experts * (gpus - 1))))
    slots = [0] * gpus
    for _ in range(total):
        room = [g for g in range(gpus) if slots[g] < experts]
        slots[draw(st.sampled_from(room))] += 1
    return slots


@st.composite
def instances(
    draw: st.DrawFn,
    families: tuple[str, ...] = (),
    max_experts: int = 6,
    max_gpus: int = 4,
    max_layers: int = 2,
    max_steps: int = 9,
    max_extra: int = 3,
) -> Instance:
    """Instances with unequal slots, replicas, weights of 0 and several hosts."""
    experts = draw(st.integers(1, max_experts))
    gpus = draw(st.integers(1, max_gpus))
    layers, steps = draw(st.integers(1, max_layers)), draw(st.integers(1, max_steps))
    weights = draw(
        st.none()
        | st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=steps, max_size=steps)
    )
    if weights is not None and not any(weights):
        weights[0] = 1.0
    return Instance.from_arrays(
        draw(traffic(steps, layers, experts)),
        [draw(latency_models(*families)) for _ in range(gpus)],
        slots=draw(slot_counts(experts, gpus, max_extra)),
        node=sorted(draw(st.integers(0, 1)) for _ in range(gpus)),
        weights=weights,
    )


def random_row(rng: np.random.Generator, experts: int, slots: np.ndarray) -> np.ndarray:
    """A feasible row int64 ``[slots]``; every feasible row can come out."""
    owner = np.repeat(np.arange(len(slots)), slots)
    row = np.full(len(owner), -1, dtype=np.int64)
    places = rng.permutation(len(owner))
    row[places[:experts]] = rng.permutation(experts)
    for slot in places[experts:]:
        free = np.setdiff1d(np.arange(experts), row[owner == owner[slot]])
        row[slot] = rng.choice(free)
    return row


def random_placement(rng: np.random.Generator, instance: Instance) -> Placement:
    """A feasible placement of `instance`."""
    rows = [
        random_row(rng, instance.num_experts, instance.slots)
        for _ in range(instance.num_layers)
    ]
    return Placement(np.array(rows), instance.slots)


def placements(instance: Instance) -> st.SearchStrategy[Placement]:
    """Feasible placements of `instance`."""
    seeds = st.integers(0, 2**32 - 1)
    return seeds.map(lambda s: random_placement(np.random.default_rng(s), instance))


def swaps(row: np.ndarray, slot2gpu: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of slots whose exchange keeps the row feasible."""
    pairs = []
    for a in range(len(row)):
        for b in range(a + 1, len(row)):
            on_a, on_b = row[slot2gpu == slot2gpu[a]], row[slot2gpu == slot2gpu[b]]
            same = slot2gpu[a] == slot2gpu[b] or row[a] == row[b]
            if same or (row[b] not in on_a and row[a] not in on_b):
                pairs.append((a, b))
    return pairs


def replacements(
    row: np.ndarray, slot2gpu: np.ndarray, experts: int
) -> list[tuple[int, int]]:
    """Pairs (slot, expert) whose replacement keeps the row feasible."""
    copies = np.bincount(row, minlength=experts)
    return [
        (slot, expert)
        for slot in range(len(row))
        for expert in range(experts)
        if copies[row[slot]] > 1 and expert not in row[slot2gpu == slot2gpu[slot]]
    ]


@st.composite
def moves(
    draw: st.DrawFn, row: np.ndarray, slot2gpu: np.ndarray, experts: int
) -> tuple[str, int, int] | None:
    """A feasible move of `row`: ("swap", a, b) or ("replace", slot, expert)."""
    known = [("swap", *pair) for pair in swaps(row, slot2gpu)]
    known += [("replace", *pair) for pair in replacements(row, slot2gpu, experts)]
    return draw(st.sampled_from(known)) if known else None
