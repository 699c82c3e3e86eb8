"""All-to-all traffic: exact from per-token ids, or estimated from pair counts."""

from gemopt.comm.routing import TokenRouting as TokenRouting
from gemopt.comm.spec import Communication as Communication

__all__ = ["Communication", "TokenRouting"]
