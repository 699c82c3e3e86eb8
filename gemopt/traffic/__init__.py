"""Routing traffic: seeded synthetic steps, and serving steps from per-token routing."""

from gemopt.model.windows import sum_windows as sum_windows
from gemopt.traffic.bursts import CONSISTENT as CONSISTENT
from gemopt.traffic.bursts import TEMPORAL as TEMPORAL
from gemopt.traffic.bursts import expert_kinds as expert_kinds
from gemopt.traffic.emulated import emulated_instance as emulated_instance
from gemopt.traffic.generate import FAMILIES as FAMILIES
from gemopt.traffic.generate import generate as generate
from gemopt.traffic.serving import serving_steps as serving_steps
from gemopt.traffic.serving import serving_tokens as serving_tokens
from gemopt.traffic.serving import split_requests as split_requests
from gemopt.traffic.shapes import SHAPES as SHAPES
from gemopt.traffic.shapes import Shape as Shape
from gemopt.traffic.shapes import shape as shape
from gemopt.traffic.synthetic import synthetic_instance as synthetic_instance
from gemopt.traffic.tokens import draw_tokens as draw_tokens

__all__ = [
    "CONSISTENT",
    "FAMILIES",
    "SHAPES",
    "TEMPORAL",
    "Shape",
    "draw_tokens",
    "emulated_instance",
    "expert_kinds",
    "generate",
    "serving_steps",
    "serving_tokens",
    "shape",
    "split_requests",
    "sum_windows",
    "synthetic_instance",
]
