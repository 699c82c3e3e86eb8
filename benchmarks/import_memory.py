"""Peak memory of importing SGLang dumps: one file against many of the same size.

Run from the repository root:

    python -m benchmarks.import_memory --gigabytes 2

Writes synthetic dumps of mode ``stat`` (DeepSeek-V3: 61 layers, 256 experts) to a
temporary folder, imports a growing share of them, each in a process of its own, and
prints the peak resident memory. The folder is removed afterwards. Needs twice the
size on disk.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LAYERS, EXPERTS, STEPS = 61, 256, 1000  # a file is SGLang's buffer of 1000 passes
FILE_BYTES = LAYERS * EXPERTS * STEPS * 4

# VmHWM, because the peak of getrusage begins at that of the parent process.
_PEAK = """
lines = open("/proc/self/status").read().splitlines()
print(next(int(l.split()[1]) / 1024 for l in lines if l.startswith("VmHWM")))
"""
_IMPORT = """
import sys
from gemopt.engines import import_trace
done = import_trace("sglang", sys.argv[1], sys.argv[2])
print(done.steps, len(done.layer_ids))
"""


def main() -> None:
    """Write dumps, import 1, 2, 4... of them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=None, help="Where to work.")
    options = parser.parse_args()
    files = max(1, round(options.gigabytes * 1e9 / FILE_BYTES))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        free = shutil.disk_usage(root).free
        if free < 4 * files * FILE_BYTES:
            raise SystemExit(f"{root} has {free / 1e9:.1f} GB free, too little")
        dumps = [_dump(root, i) for i in range(files)]
        baseline = _run("import gemopt.engines.stream\n")
        print(f"Python with the importer alone: {baseline[-1]:.0f} MiB")
        print("files      GB    steps  layers  peak MiB  seconds")
        shares = sorted({1, *(2**i for i in range(12) if 2**i < files), files})
        for share in shares:
            folder = root / f"first{share}"
            folder.mkdir()
            for dump in dumps[:share]:
                (folder / dump.name).hardlink_to(dump)
            output = root / "out.trace.safetensors"
            start = time.perf_counter()
            steps, layers, peak = _run(_IMPORT, folder, output)
            seconds = time.perf_counter() - start
            size = share * FILE_BYTES / 1e9
            print(
                f"{share:5d}  {size:6.2f}  {steps:7.0f}  {layers:6.0f}  {peak:8.0f}  "
                f"{seconds:7.1f}",
                flush=True,
            )


def _dump(root: Path, number: int) -> Path:
    import torch

    rng = np.random.default_rng(number)
    counts = rng.integers(0, 40, (STEPS, LAYERS, EXPERTS), dtype=np.int32)
    counts[:, :3] = 0  # dense layers
    path = root / f"expert_distribution_recorder_{number}.5.pt"
    data = {"rank": 0, "logical_count": torch.from_numpy(counts)}
    torch.save(data, path)
    return path


def _run(code: str, *arguments: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code + _PEAK, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [float(each) for each in done.stdout.split()]


if __name__ == "__main__":
    main()
