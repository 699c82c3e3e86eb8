"""How the tokens of an expert are divided over its replicas, one step at a time.

`split_layer` finds the split of each step that finishes first, known latency given:
what the dispatch ``best`` stands for. Under ``even`` each replica gets the same.
"""

from gemopt.dispatch.split import split_layer as split_layer
from gemopt.model.dispatch import DISPATCHES as DISPATCHES
