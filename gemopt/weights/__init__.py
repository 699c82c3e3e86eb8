"""Weights: a placement put into the checkpoint or the model itself."""

from gemopt.weights.apply import Applied as Applied
from gemopt.weights.apply import apply_checkpoint as apply_checkpoint
from gemopt.weights.logits import LogitsCheck as LogitsCheck
from gemopt.weights.logits import compare_logits as compare_logits
from gemopt.weights.module import apply_to as apply_to

__all__ = [
    "Applied",
    "LogitsCheck",
    "apply_checkpoint",
    "apply_to",
    "compare_logits",
]
