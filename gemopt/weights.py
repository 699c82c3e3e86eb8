"""Public face of `gemopt.checkpoint`: a placement put into weights."""

from gemopt.checkpoint.apply import Applied, apply_checkpoint
from gemopt.checkpoint.logits import LogitsCheck, compare_logits
from gemopt.checkpoint.module import apply_to

__all__ = [
    "Applied",
    "LogitsCheck",
    "apply_checkpoint",
    "apply_to",
    "compare_logits",
]
