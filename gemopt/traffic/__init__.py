"""Routing traffic: seeded synthetic steps, and serving steps from per-token routing."""

from gemopt.traffic.bursts import CONSISTENT as CONSISTENT
from gemopt.traffic.bursts import TEMPORAL as TEMPORAL
from gemopt.traffic.bursts import expert_kinds as expert_kinds
from gemopt.traffic.generate import FAMILIES as FAMILIES
from gemopt.traffic.generate import generate as generate
from gemopt.traffic.shapes import SHAPES as SHAPES
from gemopt.traffic.shapes import Shape as Shape
from gemopt.traffic.shapes import shape as shape
from gemopt.traffic.synthetic import synthetic_instance as synthetic_instance

__all__ = [
    "CONSISTENT",
    "FAMILIES",
    "SHAPES",
    "TEMPORAL",
    "Shape",
    "expert_kinds",
    "generate",
    "shape",
    "synthetic_instance",
]
