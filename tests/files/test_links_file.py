"""Files of measured links."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.files.links_file import (
    LinkPoint,
    MeasuredLinks,
    load_links,
    read_topology,
    save_links,
)
from gemopt.model.topology import Link, Topology

NUMBER = st.floats(0.001, 1e6)
LINK = st.builds(Link, NUMBER, NUMBER)
POINT = st.builds(
    LinkPoint,
    st.sampled_from(["intra", "inter"]),
    st.integers(2, 16),
    st.integers(0, 10**12),
    st.lists(NUMBER, min_size=1, max_size=3).map(tuple),
    st.just({"phase": "validation"}),
)
LINKS = st.builds(
    MeasuredLinks,
    name=st.text(max_size=8),
    intra=LINK,
    inter=st.none() | LINK,
    hierarchical=st.booleans(),
    device=st.just({"name": "NVIDIA H100"}),
    measurement=st.just({"library": "NCCL 2.27", "seed": 0}),
    validation=st.just({"median_error": 0.03}),
    points=st.lists(POINT, max_size=3).map(tuple),
)


def small(inter: Link | None = None) -> MeasuredLinks:
    """Links of one host, or of several."""
    point = LinkPoint("intra", 4, 4096, (9.5, 9.75))
    return MeasuredLinks("box", Link(8.0, 200.0), inter, points=(point,))


def written(path: Path, change: Any) -> Path:
    """A file of links whose document `change` has edited."""
    save_links(small(), path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


@given(LINKS)
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, links: MeasuredLinks
) -> None:
    """save_links then load_links is the identity, and writes the same bytes again."""
    path = tmp_path_factory.mktemp("links") / "x.links.json"
    save_links(links, path)
    first = path.read_bytes()
    assert load_links(path) == links
    save_links(load_links(path), path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["intra"].update(gb_per_s=0), r"intra\.gb_per_s = 0"),
        (lambda d: d["intra"].update(alpha_us=-1.0), r"intra\.alpha_us = -1\.0"),
        (lambda d: d["points"][0].update(reach="far"), r"points\[0\]\.reach = 'far'"),
        (lambda d: d["points"][0].update(samples_us=[]), r"samples_us = \[\]"),
        (lambda d: d.update(colour="red"), "colour is no field"),
        (lambda d: d.pop("inter"), "inter is missing"),
        (lambda d: d.update(format="gemopt-profile"), "needs 'gemopt-links'"),
        (lambda d: d.update(version=2), "version is 2"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    """The error names the file, the field and the value."""
    path = written(tmp_path / "x.links.json", change)
    with pytest.raises(gemopt.FileError, match=message):
        load_links(path)


def test_one_measured_host_is_not_taken_for_two(tmp_path: Path) -> None:
    """Links within a host stand for one host only; both stand for any number."""
    path = tmp_path / "x.links.json"
    save_links(small(), path)
    near = Link(8.0, 200.0)
    assert read_topology(path, 1) == Topology(near, near)
    with pytest.raises(gemopt.FileError, match="2 hosts are asked for"):
        read_topology(path, 2)
    save_links(small(Link(20.0, 40.0)), path)
    assert read_topology(path, 2) == Topology(near, Link(20.0, 40.0))
