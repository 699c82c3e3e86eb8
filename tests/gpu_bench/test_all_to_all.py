"""All-to-alls: who sends what to whom, the fit of links, and a sweep on the CPU."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.files.links_file import LinkPoint, Reach, load_links, read_topology
from gemopt.model.topology import Link
from gemopt_gpu_bench.fit.alpha_beta import fit_link, link_us
from gemopt_gpu_bench.links.all_to_all import (
    PATTERNS,
    fit,
    main,
    measured_links,
    most_bytes,
    reaches,
    sizes,
    splits,
    table,
)

ROOT = Path(__file__).parents[2]


@given(st.floats(0.5, 50), st.floats(1, 800), st.integers(0, 999))
def test_fit_finds_the_link_behind_the_times(
    alpha: float, gb_per_s: float, seed: int
) -> None:
    """Exact times give both numbers; 1 % noise moves no fitted time by over 4 %."""
    link = Link(alpha, gb_per_s)
    volumes = 2.0 ** np.arange(10, 32)
    noise = np.random.default_rng(seed).normal(1, 0.01, len(volumes))
    exact = fit_link(volumes, link_us(link, volumes))
    assert exact.alpha_us == pytest.approx(alpha)
    assert exact.gb_per_s == pytest.approx(gb_per_s)
    noisy = fit_link(volumes, link_us(link, volumes) * noise)
    np.testing.assert_allclose(
        link_us(noisy, volumes), link_us(link, volumes), rtol=0.04
    )


def test_times_that_make_no_link_are_refused() -> None:
    """Too few points, and times that fall with the bytes."""
    with pytest.raises(ValueError, match="1 points; a line needs two"):
        fit_link([1], [1])
    with pytest.raises(ValueError, match="do not grow from 1 to 100 bytes"):
        fit_link([1, 10, 100], [9, 6, 3])


@given(st.sampled_from(PATTERNS), st.integers(2, 9), st.integers(64, 2**20))
def test_patterns_send_what_they_say(pattern: str, size: int, sent: int) -> None:
    """Nobody sends to itself; balanced loads are equal, one-hot ones end at rank 0."""
    volume = splits(pattern, size, sent)
    assert not np.diag(volume).any()
    leaving, coming = volume.sum(axis=1), volume.sum(axis=0)
    if pattern == "balanced":
        assert len(set(leaving) | set(coming)) == 1
        assert sent - size < most_bytes(volume) <= sent
    else:
        assert leaving.tolist() == [0, *[sent] * (size - 1)]
        assert most_bytes(volume) == coming[0] == sent * (size - 1)


def test_groups_within_and_between_hosts() -> None:
    """Hosts of 3, 2 and 1 GPUs: lone ranks stay out, rails join the i-th of each."""
    found = reaches([0, 1, 0, 1, 0, 2])
    assert found["intra"] == [[0, 2, 4], [1, 3]]
    assert found["inter"] == [[0, 1, 5], [2, 3]]
    assert reaches([0, 0]) == {"intra": [[0, 1]], "inter": []}
    assert reaches([0, 1]) == {"intra": [], "inter": [[0, 1]]}
    assert sizes(1)[0] == 1024 and sizes(1)[-1] == 2**20


def _points(reach: Reach, link: Link, gpus: int) -> list[LinkPoint]:
    points = []
    for pattern in PATTERNS:
        for sent in sizes(64):
            most = most_bytes(splits(pattern, gpus, sent))
            us = float(link_us(link, most))
            extra = {"pattern": pattern, "most_bytes": most}
            points.append(LinkPoint(reach, gpus, sent, (us,) * 3, extra))
    return points


def test_both_links_are_fitted_and_judged_on_other_points(tmp_path: Path) -> None:
    """Known links within and between hosts come out, with errors near zero."""
    near, far = Link(8.0, 350.0), Link(20.0, 45.0)
    points = [*_points("intra", near, 8), *_points("inter", far, 2)]
    links = measured_links(points, "pair", {}, {"gpus": 16})
    assert links.intra.gb_per_s == pytest.approx(350)
    assert links.inter is not None and links.inter.alpha_us == pytest.approx(20)
    for record in links.validation.values():
        assert record["balanced_mape"] == record["one_hot_mape"] == 0
        assert record["one_hot_points"] == len(sizes(64))
    assert "inter: alpha 20.00 us, 45.0 GB/s" in table(links)
    lone = measured_links(_points("inter", far, 2), "lone", {}, {})
    assert lone.intra == lone.inter and "intra stands for inter" in str(
        lone.measurement["note"]
    )
    skewed = [
        LinkPoint(p.reach, p.gpus, p.bytes_sent, (2 * p.samples_us[0],), p.extra)
        if p.extra["pattern"] == "one_hot"
        else p
        for p in _points("intra", near, 8)
    ]
    assert fit(skewed, "intra")[1]["one_hot_mape"] == pytest.approx(0.5)


def test_one_process_is_told_how_to_start_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without torchrun there is nobody to send to."""
    monkeypatch.delenv("RANK", raising=False)
    assert main(["-o", str(tmp_path / "x.links.json"), "--device", "cpu"]) == 2
    assert "torchrun --nproc-per-node" in capsys.readouterr().err


def test_stored_links_are_what_their_points_say() -> None:
    """The links of two H100s come out of the stored points again."""
    paths = sorted((ROOT / "instances" / "measured" / "links").glob("*.links.json"))
    assert [path.name.split(".")[0] for path in paths] == ["h100-x2-eager", "h100-x2"]
    for path in paths:
        stored = load_links(path)
        link, record = fit(stored.points, "intra")
        assert link.alpha_us == pytest.approx(stored.intra.alpha_us)
        assert link.gb_per_s == pytest.approx(stored.intra.gb_per_s)
        assert record == stored.validation["intra"]


def _torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    run: Sequence[str] = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", "--nproc-per-node", str(processes), *command),
    ]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        run, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def test_two_processes_measure_their_link(tmp_path: Path) -> None:
    """A real torchrun over gloo writes a file that gives a topology."""
    out = tmp_path / "cpu.links.json"
    options = ("-o", str(out), "--device", "cpu", "--largest", "16")
    run = _torchrun(2, "-m", "gemopt_gpu_bench.links.all_to_all", *options)
    assert run.returncode == 0, run.stderr
    links = load_links(out)
    assert links.name == "cpu" and links.inter is None
    assert links.measurement["backend"] == "gloo"
    assert len(links.points) == len(PATTERNS) * len(sizes(16))
    assert {point.extra["pattern"] for point in links.points} == set(PATTERNS)
    assert all(len(point.samples_us) == 9 for point in links.points)
    assert read_topology(out, 1).intra == links.intra
    assert "intra: alpha" in run.stdout


@pytest.mark.slow
def test_four_processes_on_two_hosts_measure_both_links(tmp_path: Path) -> None:
    """Ranks that say they are on two hosts are measured within and between them."""
    out = tmp_path / "cpu.links.json"
    script = tmp_path / "two_hosts.py"
    script.write_text(
        "import os, sys\n"
        "from gemopt_gpu_bench.links import all_to_all\n"
        "all_to_all.host_name = lambda: f\"host{int(os.environ['RANK']) // 2}\"\n"
        "sys.exit(all_to_all.main())\n"
    )
    run = _torchrun(
        4, str(script), "-o", str(out), "--device", "cpu", "--largest", "16"
    )
    assert run.returncode == 0, run.stderr
    links = load_links(out)
    assert links.inter is not None and links.measurement["hosts"] == 2
    kinds = {(p.reach, p.gpus, p.extra["side_by_side"]) for p in links.points}
    assert kinds == {("intra", 2, 2), ("inter", 2, 2)}
    assert read_topology(out, 2).inter == links.inter
