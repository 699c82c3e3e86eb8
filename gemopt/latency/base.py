"""What every latency model offers: a numpy formula and rows for the kernels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Floats as Floats
from gemopt.arrays import Ints

CURVE = 0  #: piecewise linear in the tokens of the GPU
LINE = 1  #: one line in tokens, active experts and tiles
TWO_LINES = 2  #: the larger (or smooth maximum) of two such lines


@dataclass(frozen=True)
class Line:
    """``base + per_active * active + per_tile * tiles + per_token * tokens`` in us."""

    base_us: float = 0.0
    per_active_us: float = 0.0
    per_tile_us: float = 0.0
    per_token_us: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not np.isfinite(value) or value < 0:
                raise ValueError(f"{name} = {value} must be a number >= 0")

    def coefficients(self) -> tuple[float, float, float, float]:
        """Return (base, per active expert, per tile, per token), all in us."""
        return self.base_us, self.per_active_us, self.per_tile_us, self.per_token_us

    def us(self, tokens: Floats, active: Floats, tiles: Floats) -> Floats:
        """Evaluate the line on arrays of the same shape."""
        return np.asarray(
            self.base_us
            + self.per_active_us * active
            + self.per_tile_us * tiles
            + self.per_token_us * tokens
        )

    def any_positive(self) -> bool:
        """Tell whether some load has a latency above zero."""
        return any(value > 0 for value in self.coefficients())


@dataclass(frozen=True)
class Row:
    """One kernel configuration of one GPU, in the form that the kernels read.

    A `CURVE` row gives latency ``intercept[i] + slope[i] * tokens`` for the first i
    with ``tokens <= upto[i]``; the last piece has no upper end.
    """

    kind: int
    tile: int = 1
    lines: tuple[Line, ...] = ()
    power: float = 0.0
    upto: tuple[float, ...] = ()
    intercept: tuple[float, ...] = ()
    slope: tuple[float, ...] = ()
    max_step_tokens: float = np.inf


class LatencyModel(ABC):
    """Latency in microseconds of one GPU for the expert shares that it gets."""

    @abstractmethod
    def us(self, shares: ArrayLike, step_tokens: ArrayLike | None = None) -> Floats:
        """Latency of a GPU.

        Parameters
        ----------
        shares
            Tokens of each expert that the GPU holds, float ``[..., experts]``.
        step_tokens
            Tokens of the whole step on all GPUs, ``[...]``; only `Regimes` reads it.

        Returns
        -------
        numpy.ndarray
            Microseconds, float64 ``[...]``.
        """

    @abstractmethod
    def rows(self) -> tuple[Row, ...]:
        """Return the kernel configurations, by rising `max_step_tokens`."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the model's document, without its ``kind``.

        Families of other packages give this and `from_json`, and an entry point of
        the group ``gemopt.latency``, see `gemopt.latency.families`.

        Raises
        ------
        ValueError
            The family has no document form.
        """
        raise ValueError(f"{type(self).__name__} has no to_json; files need it")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Build the model from the fields that `to_json` returned.

        Raises
        ------
        ValueError
            A field that does not fit.
        """
        raise ValueError(f"{cls.__name__} has no from_json; files need it")


def regime_at(max_step_tokens: ArrayLike, step_tokens: ArrayLike) -> Ints:
    """Which regime rules a step: the first whose limit the step's tokens keep.

    Parameters
    ----------
    max_step_tokens
        Rising limits ``[regimes]``; the last regime also rules above its own.
    step_tokens
        Tokens of the steps on all GPUs, ``[...]``.

    Returns
    -------
    numpy.ndarray
        int64 ``[...]``; `gemopt.latency.kernels.row_at` is its compiled twin.
    """
    limits = np.asarray(max_step_tokens, dtype=np.float64)[:-1]
    return np.searchsorted(limits, np.asarray(step_tokens), side="left")


def features(shares: ArrayLike, tile: int) -> tuple[Floats, Floats, Floats]:
    """Sum shares ``[..., experts]`` to (tokens, active, tiles), each ``[...]``."""
    share = np.asarray(shares, dtype=np.float64)
    active = (share > 0).sum(axis=-1).astype(np.float64)
    return share.sum(axis=-1), active, np.ceil(share / tile).sum(axis=-1)


def check_tile(tile: Any) -> None:
    """Raise ValueError unless `tile` is a whole number of tokens, at least 1."""
    if isinstance(tile, bool) or int(tile) != tile or tile < 1:
        raise ValueError(f"tile = {tile} must be a whole number of tokens >= 1")


def latency_models(
    latency: Sequence[LatencyModel] | LatencyModel, slots: ArrayLike | None = None
) -> tuple[LatencyModel, ...]:
    """Check that there is at least one latency model and nothing else.

    One model stands for every GPU of which `slots` says how many it has.
    """
    if isinstance(latency, LatencyModel):
        if slots is None or np.ndim(slots) != 1:
            raise ValueError(
                f"latency is one {type(latency).__name__} and slots = {slots!r} does "
                "not say how many GPUs share it; give [model] * gpus, or all slots"
            )
        latency = [latency] * len(np.asarray(slots))
    models = tuple(latency)
    if not models:
        raise ValueError("latency is empty; give one latency model per GPU")
    for g, model in enumerate(models):
        if not isinstance(model, LatencyModel):
            raise ValueError(f"latency[{g}] = {model!r} is no latency model")
    return models
