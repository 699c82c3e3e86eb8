"""Tests of the file of best known values."""

import pytest

from gemopt.files.best_known import BestKnown, read_best_known, write_best_known
from gemopt.files.errors import FileError


def test_read_after_write_is_identity(tmp_path):
    """What was written is read back, sorted by name; no file means nothing known."""
    assert read_best_known(tmp_path) == {}
    known = {
        "b": BestKnown(tag="opt", value_us=2.5, bound_us=2.5, provenance="brute force"),
        "a": BestKnown(tag="unkn", value_us=None, bound_us=None, provenance=""),
    }
    write_best_known(tmp_path, known)
    assert read_best_known(tmp_path) == known
    text = (tmp_path / "best_known.json").read_text()
    assert text.index('"a"') < text.index('"b"')


def test_unknown_tag_is_refused(tmp_path):
    """A tag that is not one of the four is named with file and place."""
    write_best_known(
        tmp_path,
        {"a": BestKnown(tag="best", value_us=1.0, bound_us=None, provenance="")},
    )
    path = tmp_path / "best_known.json"
    path.write_text(path.read_text().replace('"best"', '"good"'))
    with pytest.raises(FileError, match=r"best_known.json: instances.a.tag = 'good'"):
        read_best_known(tmp_path)
