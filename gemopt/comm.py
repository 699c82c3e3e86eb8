"""Public face of all-to-all communication: token routing, links and what they cost."""

from gemopt.model.communication import Communication
from gemopt.model.tokens import TokenRouting
from gemopt.model.topology import Link, Topology, topology

__all__ = ["Communication", "Link", "TokenRouting", "Topology", "topology"]
