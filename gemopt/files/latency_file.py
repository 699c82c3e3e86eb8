"""Latency models from a JSON file: one for all GPUs, or a list of one each."""

from pathlib import Path

from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json
from gemopt.files.latency_doc import parse_latency
from gemopt.latency import LatencyModel


def read_latency(path: str | Path) -> list[LatencyModel]:
    """Read latency models.

    Parameters
    ----------
    path
        JSON: a latency model as in instance files, such as
        ``{"kind": "token_curve", "interpolation": "step", "tokens": [...],
        "latency_us": [...]}``, or a list of them.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit.
    OSError
        The file cannot be read.
    """
    file = Path(path)
    document = read_json(file)
    try:
        if isinstance(document, list):
            if not document:
                raise ValueError("the list is empty; give one latency model per GPU")
            return [
                parse_latency(each, f"latency[{g}]") for g, each in enumerate(document)
            ]
        return [parse_latency(document)]
    except ValueError as error:
        raise FileError(file, str(error)) from error
