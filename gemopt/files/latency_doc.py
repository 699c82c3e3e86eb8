"""Latency models as JSON documents, told apart by `kind`. Units are in the keys."""

from dataclasses import asdict
from functools import singledispatch
from math import inf, isinf
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Discriminator,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gemopt.files.schema import Document, first_problem
from gemopt.latency import LatencyModel, Line, Regimes, Roofline, TileActive, TokenCurve
from gemopt.latency.families import BUILT_IN, family, kind_of


class LineDoc(Document):
    """Coefficients of one line, us."""

    base_us: float
    per_active_us: float
    per_tile_us: float
    per_token_us: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.line()
        return self

    def line(self) -> Line:
        """Build the line."""
        return Line(
            self.base_us, self.per_active_us, self.per_tile_us, self.per_token_us
        )


class _ModelDoc(Document):
    """A document that must build a latency model."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.model()
        return self

    def model(self) -> LatencyModel:
        """Build the latency model; raises ValueError with what is wrong."""
        raise NotImplementedError(type(self).__name__)


class TokenCurveDoc(_ModelDoc):
    """`gemopt.latency.TokenCurve`: points (tokens[i], latency_us[i])."""

    kind: Literal["token_curve"]
    interpolation: Literal["step", "linear"]
    tokens: list[float]
    latency_us: list[float]

    def model(self) -> TokenCurve:
        """Build the curve."""
        if len(self.tokens) != len(self.latency_us):
            raise ValueError(
                f"latency_us has {len(self.latency_us)} values for "
                f"{len(self.tokens)} tokens"
            )
        points = zip(self.tokens, self.latency_us, strict=True)
        return TokenCurve(points, self.interpolation)


class TileActiveDoc(_ModelDoc):
    """`gemopt.latency.TileActive`."""

    kind: Literal["tile_active"]
    base_us: float
    per_active_us: float
    per_tile_us: float
    per_token_us: float
    tile_tokens: int

    def model(self) -> TileActive:
        """Build the model."""
        return TileActive(
            self.base_us,
            self.per_active_us,
            self.per_tile_us,
            self.per_token_us,
            self.tile_tokens,
        )


class RooflineDoc(_ModelDoc):
    """`gemopt.latency.Roofline`; `power` null is the plain maximum."""

    kind: Literal["roofline"]
    memory: LineDoc
    compute: LineDoc
    tile_tokens: int
    power: float | None = None

    def model(self) -> Roofline:
        """Build the model."""
        return Roofline(
            self.memory.line(), self.compute.line(), self.tile_tokens, self.power
        )


class RegimeDoc(Document):
    """One range of global step tokens; null `max_step_tokens` has no upper end."""

    max_step_tokens: float | None
    latency: "LatencyDoc"


class RegimesDoc(_ModelDoc):
    """`gemopt.latency.Regimes`."""

    kind: Literal["regimes"]
    parts: list[RegimeDoc]

    def model(self) -> Regimes:
        """Build the model."""
        return Regimes(
            (
                inf if part.max_step_tokens is None else part.max_step_tokens,
                part.latency.model(),
            )
            for part in self.parts
        )


class ForeignDoc(_ModelDoc):
    """A family of another package, which checks its own fields."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    kind: str

    def model(self) -> LatencyModel:
        """Build the model by the family's own `from_json`."""
        chosen = family(self.kind)
        try:
            return chosen.from_json(dict(self.model_extra or {}))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"kind = {self.kind!r}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Say in one line what a foreign family found wrong."""
    text = f"no field {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())


def _tag(document: object) -> str | None:
    """Say which document is meant: by its kind, of another package if not ours."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind is None:
        kind = getattr(document, "kind", None)
    return kind if kind is None or kind in BUILT_IN else "foreign"


LatencyDoc = Annotated[
    Annotated[TokenCurveDoc, Tag("token_curve")]
    | Annotated[TileActiveDoc, Tag("tile_active")]
    | Annotated[RooflineDoc, Tag("roofline")]
    | Annotated[RegimesDoc, Tag("regimes")]
    | Annotated[ForeignDoc, Tag("foreign")],
    Discriminator(_tag),
]
RegimeDoc.model_rebuild()
RegimesDoc.model_rebuild()
_ADAPTER: TypeAdapter[_ModelDoc] = TypeAdapter(LatencyDoc)


def parse_latency(document: object, where: str = "latency") -> LatencyModel:
    """Turn a document into its latency model.

    Raises
    ------
    ValueError
        Names the field below `where` and the value that do not fit.
    """
    try:
        return _ADAPTER.validate_python(document).model()
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error, document)}") from None


@singledispatch
def dump_latency(model: LatencyModel) -> dict[str, Any]:
    """Turn a latency model into its document.

    Raises
    ------
    ValueError
        A class that no entry point names, or without `to_json`.
    """
    return {"kind": kind_of(model), **model.to_json()}


@dump_latency.register
def _(model: TokenCurve) -> dict[str, Any]:
    return {
        "kind": "token_curve",
        "interpolation": model.interpolation,
        "tokens": [x for x, _ in model.points],
        "latency_us": [y for _, y in model.points],
    }


@dump_latency.register
def _(model: TileActive) -> dict[str, Any]:
    line = {key: float(value) for key, value in asdict(model.line).items()}
    return {"kind": "tile_active", **line, "tile_tokens": int(model.tile)}


@dump_latency.register
def _(model: Roofline) -> dict[str, Any]:
    def line(part: Line) -> dict[str, float]:
        return {key: float(value) for key, value in asdict(part).items()}

    return {
        "kind": "roofline",
        "memory": line(model.memory),
        "compute": line(model.compute),
        "tile_tokens": int(model.tile),
        "power": None if model.power is None else float(model.power),
    }


@dump_latency.register
def _(model: Regimes) -> dict[str, Any]:
    parts = [
        {
            "max_step_tokens": None if isinf(limit) else limit,
            "latency": dump_latency(part),
        }
        for limit, part in model.parts
    ]
    return {"kind": "regimes", "parts": parts}
