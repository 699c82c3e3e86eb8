"""DeepSeek's EPLB: replicate the most loaded experts, then pack them greedily."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.eplb import eplb_phy2log
from gemopt.parts.repair import repaired
from gemopt.run.bases import OnePlacement
from gemopt.run.solver import Outcome


@dataclass(frozen=True)
class EplbParams:
    """Options of `Eplb`.

    Parameters
    ----------
    groups
        Expert groups, for models that route by groups. Where the hosts of the instance
        divide them the hierarchical method runs: groups are packed to hosts first.
    """

    groups: int = 1

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ValueError(f"groups = {self.groups} must be >= 1")


class Eplb(OnePlacement):
    """DeepSeek's method on the loads summed over steps; it knows no GPU speeds.

    DeepSeek may put an expert twice on a GPU, which gemopt forbids: `repaired` then
    exchanges the second copy with a slot of similar load, and ``stats`` says in how
    many slots the answer differs from DeepSeek's.

    References
    ----------
    https://github.com/deepseek-ai/EPLB
    """

    name: ClassVar[str] = "eplb"
    summary: ClassVar[str] = "DeepSeek's EPLB: mean loads, equal GPUs"
    Params = EplbParams

    def supports(self, instance: Instance) -> str | None:
        """Need equal slots, and groups and hosts that divide where groups are given."""
        slots, groups = instance.slots, self.params.groups
        if (slots != slots[0]).any():
            return f"slots = {slots.tolist()}, EPLB needs equal slots"
        hosts = _hosts(instance)
        if instance.num_experts % groups:
            return f"groups = {groups} do not divide {instance.num_experts} experts"
        if groups % hosts == 0 and not _hosts_are_blocks(instance.node):
            return f"node = {instance.node.tolist()}, EPLB needs equal blocks of GPUs"
        return None

    def place(self, instance: Instance, seed: int) -> Outcome:
        """Pack as DeepSeek does, then repair."""
        weight = instance.loads @ instance.weights
        phy2log, _, _ = eplb_phy2log(
            weight,
            instance.num_slots,
            self.params.groups,
            _hosts(instance),
            instance.num_gpus,
        )
        feasible = repaired(phy2log, instance.slots, weight)
        placement = Placement(feasible, instance.slots)
        changed = int((feasible != phy2log).sum())
        return Outcome(placement, stats={"slots_repaired": changed})


def _hosts(instance: Instance) -> int:
    return instance.num_nodes


def _hosts_are_blocks(node: Ints) -> bool:
    blocks = np.array_split(node, len(np.unique(node)))
    return all((b == b[0]).all() and len(b) == len(blocks[0]) for b in blocks)
