"""Clustering-based placement on the co-load and co-activation graphs."""

from gemopt_solvers.cluster.solver import Cluster as Cluster
from gemopt_solvers.cluster.solver import ClusterParams as ClusterParams

__all__ = ["Cluster", "ClusterParams"]
