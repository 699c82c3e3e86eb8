"""What the golden digests are taken of: solvers on stored instances, policies on loads.

``python -m tests.golden.cases`` writes the digests anew. Do so only in a change that
means to move placements, and say in its message why.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

import gemopt

HERE = Path(__file__).parent
DIGESTS = HERE / "digests.json"
INSTANCES = HERE.parents[1] / "instances"

TINY = tuple(sorted(path.stem for path in (INSTANCES / "tiny").glob("*.json")))
CUT = (  # two layers and the first steps of larger ones: every latency family in use
    "real-b512-g4-s68-tiles",
    "real-b512-g8-s64-curve",
    "real-b64-g8-s72-tiles",
    "profiled-deepseek-v3-b512-s68",
    "profiled-hunyuan-a13b-b512-s64",
    "profiled-qwen3-30b-a3b-b1984-s68",
)
CUT_LAYERS, CUT_STEPS = 2, 12

#: solver -> runs: (label, params, iterations)
HEURISTICS = {
    "linear": [("", {}, None)],
    "random": [("", {}, 3)],
    "lpt": [("", {}, None)],
    "eplb": [("", {}, None)],
    "meancov": [("", {}, None)],
    "gem": [("", {}, 6)],
    "cluster": [("", {}, None)],
    "grace": [("", {}, None)],
    "moetuner": [("", {}, 2)],
    "search": [
        ("fast", {"preset": "fast"}, None),
        ("default", {}, None),
        ("best", {"preset": "best"}, 3),
        ("given", {"preset": "default", "resample": False}, None),
    ],
}
EXACT = ("exact", "bnb", "lpbb", "cpsat", "milp")


def digest(phy2log: np.ndarray) -> str:
    """First 16 hex digits of the SHA-256 of a placement as int64."""
    array = np.ascontiguousarray(phy2log, dtype="<i8")
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


@cache
def instance(name: str) -> gemopt.Instance:
    """The stored instance, cut to a few layers and steps unless it is tiny."""
    family = name.split("-")[0]
    found = gemopt.load(INSTANCES / family / f"{name}.json")
    if name in TINY:
        return found
    some = found.steps(0, min(CUT_STEPS, found.num_steps))
    return gemopt.Instance.from_arrays(
        some.counts[:, :CUT_LAYERS], some.latency, slots=some.slots, node=some.node
    )


def solver_cases() -> Iterator[tuple[str, Callable[[], str]]]:
    """Every solver and preset: (label, function that returns the digest)."""
    for name in (*TINY, *CUT):
        for solver, runs in HEURISTICS.items():
            for label, params, iterations in runs:
                yield (
                    "/".join(filter(None, (solver, label, name))),
                    lambda a=(name, solver, params, iterations): _solved(*a),
                )
    for name in TINY:
        for solver in EXACT:
            yield f"{solver}/{name}", lambda a=(name, solver, {}, None): _solved(*a)
    for preset in ("fast", "default"):
        label, name = f"search/{preset}-moves", "real-b512-g4-s68-tiles"
        yield f"{label}/{name}", lambda a=(name, preset): _moved(*a)


def _solved(name: str, solver: str, params: dict, iterations: int | None) -> str:
    problem = instance(name)
    try:
        found = gemopt.solve(
            problem, solver, params=params or None, iterations=iterations, trace=False
        )
    except ValueError as error:
        if "cannot take this instance" in str(error):
            return "refused"
        raise
    assert found.placement is not None
    return digest(found.placement.phy2log)


def _moved(name: str, preset: str) -> str:
    problem = instance(name)
    start = gemopt.solve(problem, "lpt", trace=False).placement
    found = gemopt.solve(
        problem, "search", start=start, params={"preset": preset, "max_moves": 6}
    )
    return digest(found.placement.phy2log)


if __name__ == "__main__":
    from tests.golden.policy_cases import policy_cases

    digests = {label: run() for label, run in (*solver_cases(), *policy_cases())}
    DIGESTS.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")
