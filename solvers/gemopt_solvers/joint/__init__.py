"""Search on compute and communication together."""

from gemopt_solvers.joint.descent import joint_descent as joint_descent
from gemopt_solvers.joint.search import joint_rows as joint_rows

__all__ = ["joint_descent", "joint_rows"]
