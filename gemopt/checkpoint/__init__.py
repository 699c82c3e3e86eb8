"""Weights: a placement put into the checkpoint or the model itself."""

from gemopt.checkpoint.apply import Applied as Applied
from gemopt.checkpoint.apply import apply_checkpoint as apply_checkpoint
from gemopt.checkpoint.logits import LogitsCheck as LogitsCheck
from gemopt.checkpoint.logits import compare_logits as compare_logits
from gemopt.checkpoint.module import apply_to as apply_to

__all__ = [
    "Applied",
    "LogitsCheck",
    "apply_checkpoint",
    "apply_to",
    "compare_logits",
]
