"""Latency models of a GPU, in microseconds, one family a file."""

from gemopt.latency.base import LatencyModel as LatencyModel
from gemopt.latency.base import Line as Line
from gemopt.latency.regimes import Regimes as Regimes
from gemopt.latency.roofline import Roofline as Roofline
from gemopt.latency.tile_active import TileActive as TileActive
from gemopt.latency.token_curve import TokenCurve as TokenCurve
from gemopt.latency.token_curve import affine as affine

__all__ = [
    "LatencyModel",
    "Line",
    "Regimes",
    "Roofline",
    "TileActive",
    "TokenCurve",
    "affine",
]
