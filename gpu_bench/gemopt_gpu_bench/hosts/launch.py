"""One process per GPU on this host, all measuring at once."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

POLL_S = 0.1
LINGER_S = 2.0  # for others to say what went wrong and end by themselves
GRACE_S = 10.0  # between asking a process to end and ending it


def launch(arguments: Sequence[str], count: int) -> int:
    """Run ``python -m gemopt_gpu_bench`` in `count` processes that know of each other.

    They find out as under torchrun: from RANK, LOCAL_RANK, WORLD_SIZE and MASTER_PORT.
    When one ends badly the others are ended too.

    Parameters
    ----------
    arguments
        Command line of each process.
    count
        Processes.

    Returns
    -------
    int
        The exit code of the first process that ended badly, else 0.
    """
    root = os.pathsep.join(filter(None, sys.path))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    shared = {
        **os.environ,
        "PYTHONPATH": path,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        # Processes share the host's cores.
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
    }
    command = [sys.executable, "-m", "gemopt_gpu_bench", *arguments]
    processes = [
        subprocess.Popen(command, env={**shared, "RANK": str(i), "LOCAL_RANK": str(i)})
        for i in range(count)
    ]
    try:
        return _wait(processes)
    finally:
        _end(processes)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all have ended well or one badly; return that exit code."""
    while True:
        codes = [process.poll() for process in processes]
        bad = [code for code in codes if code]
        if bad:
            # A process ended by a signal has a negative code.
            return bad[0] if bad[0] > 0 else 128 - bad[0]
        if None not in codes:
            return 0
        time.sleep(POLL_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that still run, once they had time to end by themselves."""
    deadline = time.monotonic() + LINGER_S
    while time.monotonic() < deadline and any(p.poll() is None for p in processes):
        time.sleep(POLL_S)
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
