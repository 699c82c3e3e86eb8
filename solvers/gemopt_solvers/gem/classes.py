"""Consistent and temporal experts, told apart by how often they are hot."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemopt.model.instance import Instance

OTHER, TEMPORAL, CONSISTENT = 0, 1, 2


@dataclass(frozen=True)
class ClassRule:
    """When an expert counts as consistent or temporal.

    The paper names the two kinds but gives no thresholds; these are ours.

    Parameters
    ----------
    hot
        An expert is hot in a step when its tokens exceed `hot` times the fair load,
        which is the tokens of the layer divided by its experts.
    consistent
        Consistent experts are hot in at least this share of the steps.
    temporal_low, temporal_high
        Temporal experts are hot in a share of the steps between these two.

    Raises
    ------
    ValueError
        Unless ``hot > 0`` and ``0 < temporal_low <= temporal_high < consistent <= 1``.
    """

    hot: float = 2.0
    consistent: float = 0.8
    temporal_low: float = 0.05
    temporal_high: float = 0.4

    def __post_init__(self) -> None:
        if not self.hot > 0:
            raise ValueError(f"hot = {self.hot} must be > 0")
        low, high = self.temporal_low, self.temporal_high
        if not 0 < low <= high < self.consistent <= 1:
            raise ValueError(
                f"need 0 < temporal_low = {low} <= temporal_high = {high} < "
                f"consistent = {self.consistent} <= 1"
            )


def hot_fraction(instance: Instance, hot: float) -> NDArray[np.float64]:
    """Weighted share of the steps in which each expert is hot, ``[layers, experts]``.

    Steps without tokens in a layer do not count there.
    """
    fair = instance.step_tokens / instance.num_experts
    is_hot = instance.loads > hot * fair[:, None, :]
    used = (instance.step_tokens > 0) * instance.weights
    total = used.sum(axis=1, keepdims=True)
    share = (is_hot * used[:, None, :]).sum(axis=2)
    return np.divide(share, total, out=np.zeros_like(share), where=total > 0)


def classify(instance: Instance, rule: ClassRule) -> NDArray[np.int64]:
    """Class of each expert, int64 ``[layers, experts]``: see the module's constants."""
    fraction = hot_fraction(instance, rule.hot)
    temporal = (fraction >= rule.temporal_low) & (fraction <= rule.temporal_high)
    kind = np.where(temporal, TEMPORAL, OTHER)
    return np.where(fraction >= rule.consistent, CONSISTENT, kind).astype(np.int64)
