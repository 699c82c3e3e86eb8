"""What a first run compiles: seconds of processor time for each kernel, and in all.

``python -m benchmarks.cold_start`` runs `search`, `gem`, and `lpt` with the quick bound
in processes of their own, each with an empty cache, and once more with the filled one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

INSTANCE = Path(__file__).parents[1] / "instances/real/real-b512-g4-s68-tiles.json"
RUNS = {
    "search": ("search", {}),
    "gem": ("gem", {"iterations": 1}),
    "lpt, quick bound": ("lpt", {"bound_effort": "quick"}),
}


def child(path: str, solver: str, options: str) -> None:
    """Solve once; print compiled kernels, all seconds, and those of each kernel."""
    import time

    from numba.core import event

    import gemopt

    own: dict[str, float] = {}
    stack: list[list[float]] = []

    class Listener(event.Listener):  # type: ignore[misc]  # numba has no types
        """Processor time of each kernel, without that of kernels inside."""

        def on_start(self, event: event.Event) -> None:
            stack.append([time.process_time(), 0.0])

        def on_end(self, event: event.Event) -> None:
            start, inner = stack.pop()
            seconds = time.process_time() - start
            function = event.data["dispatcher"].py_func
            name = f"{function.__module__}.{function.__name__}"
            own[name] = own.get(name, 0.0) + seconds - inner
            if stack:
                stack[-1][1] += seconds

    event.register("numba:compile", Listener())
    instance = gemopt.load(path)
    start = time.process_time()
    gemopt.solve(instance, solver, **json.loads(options))
    print(json.dumps({"seconds": time.process_time() - start, "own": own}))


def main() -> None:
    """Print the totals, and the kernels that take longest to compile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instance", type=Path, default=INSTANCE)
    parser.add_argument("--kernels", type=int, default=10, help="how many to list")
    args = parser.parse_args()
    for name, (solver, options) in RUNS.items():
        with tempfile.TemporaryDirectory() as cache:
            for state in ("empty", "filled"):
                given = (str(args.instance), solver, json.dumps(options))
                done = subprocess.run(
                    [sys.executable, "-c",
                     f"from benchmarks.cold_start import child; child{given!r}"],
                    env=os.environ | {"NUMBA_CACHE_DIR": cache},
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                found = json.loads(done.stdout.splitlines()[-1])
                own = found["own"]
                print(
                    f"{name}, cache {state}: {found['seconds']:.1f} CPU-s, "
                    f"{len(own)} kernels compiled in {sum(own.values()):.1f} CPU-s"
                )
                slowest = sorted(own.items(), key=lambda item: -item[1])
                for kernel, seconds in slowest[: args.kernels]:
                    print(f"  {seconds:6.2f}  {kernel}")


if __name__ == "__main__":
    main()
