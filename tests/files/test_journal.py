"""Files of JSON lines that survive kills and full disks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gemopt
from gemopt.files.journal import Journal, read_entries

ENTRIES = [{"a": 1}, ["x", None], "text"]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    """However much of the last line is missing, the others stay and more can follow."""
    path = tmp_path / "x.jsonl"
    with Journal(path) as journal:
        for entry in ENTRIES:
            journal.add(entry)
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_entries(path) == ENTRIES[:2]
    with Journal(path) as journal:
        assert journal.entries == ENTRIES[:2]
        journal.add("more")
    assert read_entries(path) == [*ENTRIES[:2], "more"]


def test_a_killed_process_loses_no_whole_line(tmp_path: Path) -> None:
    """After kill -9 the file holds every entry that was added, and can go on."""
    path = tmp_path / "x.jsonl"
    code = (
        "import sys; from gemopt.files.journal import Journal\n"
        "journal, n = Journal(sys.argv[1]), 0\n"
        "while True:\n"
        "    journal.add({'n': n}); n += 1\n"
        "    if n == 50: print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    with Journal(path) as journal:
        found = [entry["n"] for entry in journal.entries]
    assert len(found) >= 50
    assert found == list(range(len(found)))


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """An entry that the disk has no room for is not there in part."""
    pytest.importorskip("resource")
    path = tmp_path / "x.jsonl"
    code = (
        "import resource, signal, sys; from gemopt.files.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "journal = Journal(sys.argv[1]); journal.add('first')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))\n"
        "try: journal.add('x' * 100)\n"
        "except OSError as error: assert error.filename == sys.argv[1]; sys.exit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 3
    assert path.read_text() == '"first"\n'


def test_broken_lines_are_named(tmp_path: Path) -> None:
    """A whole line that is no JSON is refused with its number, and kept."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\noops\n"x"\n')
    with pytest.raises(gemopt.FileError, match=r"x\.jsonl: line 2 is no JSON"):
        Journal(path)
    assert "oops" in path.read_text()
    cannot = pytest.raises(ValueError, match="cannot be written as JSON")
    with Journal(tmp_path / "y.jsonl") as journal, cannot:
        journal.add(float("nan"))
