"""How the tokens of an expert are divided over its replicas, one step at a time.

`shares` gives the tokens of every slot at every step under a dispatch: ``even`` (each
replica gets the same), ``best`` (the split that finishes first, known latency given).
"""

from gemopt.dispatch.shares import shares as shares
from gemopt.model.dispatch import DISPATCHES as DISPATCHES
