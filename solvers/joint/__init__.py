"""Descent on compute and communication together."""

from solvers.joint.descent import joint_descent as joint_descent

__all__ = ["joint_descent"]
