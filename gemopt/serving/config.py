"""Options of the policies: ``GEMOPT_*`` variables, or a JSON file named by one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemopt.files.errors import FileError

if TYPE_CHECKING:
    from gemopt.latency import LatencyModel

GATE = "GEMOPT_POLICY"
FILE = "GEMOPT_CONFIG"
#: Variable of each field; it wins over the file.
VARIABLES = {
    "profiles": "GEMOPT_PROFILE",
    "move_budget": "GEMOPT_MOVE_BUDGET",
    "min_gain": "GEMOPT_MIN_GAIN",
    "window_steps": "GEMOPT_WINDOW_STEPS",
    "preset": "GEMOPT_PRESET",
    "bit_for_bit": "GEMOPT_BIT_FOR_BIT",
}
_ON, _OFF = ("1", "on", "true", "yes"), ("", "0", "off", "false", "no")


@dataclass(frozen=True)
class PolicyConfig:
    """Options of the policies.

    Parameters
    ----------
    profiles
        Profile files (``.profile.json``), of one GPU or several each: one GPU for all
        ranks, or one per rank in order.
        None at all means equal GPUs.
    move_budget
        Slots of all layers that one call may fill with an expert which their rank did
        not hold; None means any number.
    min_gain
        Part of the predicted straggler latency, 0..1, that must be gained; else the
        old placement stays.
    window_steps
        Steps that the engine adds up before it calls (vLLM's `window_size`); latency
        is predicted for their average.
    preset
        Preset of the solver `search`.
    bit_for_bit
        Answer as DeepSeek's code does where nothing is searched, with experts twice on
        a rank; else their slots go to other experts.

    Raises
    ------
    ValueError
        A value outside its range.
    """

    profiles: tuple[str, ...] = ()
    move_budget: int | None = None
    min_gain: float = 0.0
    window_steps: int = 1000
    preset: str = "fast"
    bit_for_bit: bool = False

    def __post_init__(self) -> None:
        if self.move_budget is not None and self.move_budget < 0:
            raise ValueError(f"move_budget = {self.move_budget} must be >= 0")
        if not 0 <= self.min_gain < 1:
            raise ValueError(f"min_gain = {self.min_gain} must be in [0, 1)")
        if self.window_steps < 1:
            raise ValueError(f"window_steps = {self.window_steps} must be >= 1")

    def latency(self, gpus: int) -> tuple[LatencyModel, ...] | None:
        """Return one latency model per rank, or None where there is no profile.

        Raises
        ------
        ValueError
            As many profiles as neither one nor the number of ranks.
        """
        if not self.profiles:
            return None
        models = self.models()
        if len(models) not in (1, gpus):
            raise ValueError(
                f"profiles names {len(self.profiles)} files for {gpus} ranks, and they "
                f"hold {len(models)} GPUs; give one for all ranks or one per rank"
            )
        return models if len(models) == gpus else models * gpus

    def models(self) -> tuple[LatencyModel, ...]:
        """Latency of each GPU of the profile files, in order."""
        return tuple(model for path in self.profiles for model in _models(path))


def enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether ``GEMOPT_POLICY`` asks for our policies.

    Raises
    ------
    ValueError
        The variable is neither yes nor no.
    """
    return _yes(GATE, environment.get(GATE, ""))


def _yes(variable: str, text: str) -> bool:
    value = text.strip().lower()
    if value not in (*_ON, *_OFF):
        known = " or ".join((_ON[0], _OFF[1]))
        raise ValueError(f"{variable} = {value!r} must be {known}")
    return value in _ON


def config_from(environment: Mapping[str, str] = os.environ) -> PolicyConfig:
    """Read the options; files are read once in a process.

    Raises
    ------
    ValueError
        Names the variable, or the file and its field, and the value.
    """
    names = (FILE, *VARIABLES.values())
    return _config(tuple((name, environment.get(name, "")) for name in names))


@cache
def _config(pairs: tuple[tuple[str, str], ...]) -> PolicyConfig:
    given = {name: value for name, value in pairs if value}
    fields = _file_fields(Path(given[FILE])) if FILE in given else {}
    for field, variable in VARIABLES.items():
        if variable in given:
            fields[field] = _parsed(field, variable, given[variable])
    return PolicyConfig(**fields)


def _parsed(field: str, variable: str, text: str) -> Any:
    kinds: dict[str, Any] = {"move_budget": int, "window_steps": int, "min_gain": float}
    if field == "profiles":
        return tuple(text.split(os.pathsep))
    if field == "bit_for_bit":
        return _yes(variable, text)
    kind = kinds.get(field, str)
    try:
        value = kind(text)
        PolicyConfig(**{field: value})
    except ValueError as error:
        what = {int: "a whole number", float: "a number"}.get(kind, "text")
        reason = f"must be {what}" if field not in str(error) else str(error)
        raise ValueError(f"{variable} = {text!r}: {reason}") from None
    return value


def _file_fields(path: Path) -> dict[str, Any]:
    from pydantic import ValidationError

    from gemopt.files.json_text import read_json
    from gemopt.files.schema import first_problem
    from gemopt.serving.schema import ConfigDoc

    try:
        raw = read_json(path)
        document = ConfigDoc.model_validate(raw)
        fields = document.model_dump(exclude_unset=True)
        if "profiles" in fields:
            folder = path.parent
            fields["profiles"] = tuple(str(folder / p) for p in fields["profiles"])
        PolicyConfig(**fields)
    except ValidationError as error:
        raise FileError(path, first_problem(error, raw)) from None
    except OSError as error:
        raise FileError(path, f"cannot read: {error.strerror}") from None
    except FileError:
        raise
    except ValueError as error:
        raise FileError(path, str(error)) from None
    return fields


@cache
def _models(path: str) -> tuple[LatencyModel, ...]:
    from gemopt.files.profile_set import load_profiles

    try:
        return tuple(profile.latency for profile in load_profiles(path))
    except OSError as error:
        raise FileError(path, f"cannot read: {error.strerror}") from None
