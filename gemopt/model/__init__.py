"""The problem and its answer: `Instance` and `Placement`, both immutable."""

from gemopt.model.instance import Instance as Instance
from gemopt.model.placement import Placement as Placement

__all__ = ["Instance", "Placement"]
