"""What an implementation of the expert layer offers to the measurement."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from gemopt_gpu_bench.backends.tiles import TileTable
    from gemopt_gpu_bench.measure.layer import ExpertLayer

#: Launches the layer once on the weights of copy number `copy`, without waiting, and
#: returns where its result ``[tokens, hidden]`` will lie.
Launch = Callable[[int], "torch.Tensor"]


class Backend(Protocol):
    """One implementation of the grouped SwiGLU expert layer.

    Attributes
    ----------
    name
        Name on the command line and in profiles.
    table
        Its tiles where they are known, else None: then boundaries are searched.
    """

    name: str
    table: "TileTable | None"

    def bind(
        self, layer: "ExpertLayer", counts: Sequence[int], mean_tokens: float
    ) -> Launch:
        """Prepare one load: everything that is not part of the timed work.

        Parameters
        ----------
        layer
            Weights and buffers.
        counts
            Tokens of each local expert ``[experts]``; tokens are sorted by expert.
        mean_tokens
            Tokens per expert of the whole step, which selects the configuration.

        Returns
        -------
        Launch
            To be called, or captured in a graph, once per copy of the weights.
        """
        ...
