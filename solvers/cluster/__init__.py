"""Clustering-based placement on the co-load and co-activation graphs."""

from solvers.cluster.solver import Cluster as Cluster
from solvers.cluster.solver import ClusterParams as ClusterParams

__all__ = ["Cluster", "ClusterParams"]
