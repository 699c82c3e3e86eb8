"""Tests of latency files."""

import json

import pytest

from gemopt.files.errors import FileError
from gemopt.files.latency_doc import dump_latency
from gemopt.files.latency_file import read_latency
from gemopt.latency import TileActive, affine

MODELS = [affine(20.0, 0.5), TileActive(1.0, 2.0, 3.0, 4.0)]


def test_one_model_or_a_list(tmp_path):
    """A file holds one model, or a list of them."""
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(dump_latency(MODELS[0])))
    assert read_latency(path) == MODELS[:1]
    path.write_text(json.dumps([dump_latency(model) for model in MODELS]))
    assert read_latency(path) == MODELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("{", "is not JSON"),
        ("[]", "the list is empty"),
        ('{"kind": "quadratic"}', "kind = 'quadratic' is unknown"),
        ('[{"kind": "token_curve"}]', r"latency\[0\]: interpolation is missing"),
        ("3", "latency"),
        (
            '{"kind": "token_curve", "interpolation": "step", "tokens": [2, 1], '
            '"latency_us": [1, 2]}',
            "sort",
        ),
    ],
)
def test_bad_files_name_field_and_value(tmp_path, text, message):
    """What does not fit is refused in one line that names the file."""
    path = tmp_path / "latency.json"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as error:
        read_latency(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
