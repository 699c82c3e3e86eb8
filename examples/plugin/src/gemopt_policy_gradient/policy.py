"""The policy: a score for each GPU that may take the next copy."""

import torch
from torch import Tensor, nn

FEATURES = 6  #: numbers that describe one choice, see `rollout.features`


class Policy(nn.Module):
    """Score of (expert, GPU): a small network plus a table of its own for the pair.

    The network is shared by all layers and carries what is general: prefer the GPU
    that finishes earliest, keep room, avoid experts that burst together. The table
    learns what is particular to a pair. Both start at zero, so that the untrained
    policy is the greedy rule `sharpness` times the (negative) rise in cost.

    Parameters
    ----------
    layers, experts, gpus
        Sizes of the table.
    hidden
        Units of the network's one hidden layer.
    sharpness
        How strongly the untrained policy prefers the greedy choice.
    generator
        Draws the first weights.
    """

    def __init__(
        self,
        layers: int,
        experts: int,
        gpus: int,
        *,
        hidden: int,
        sharpness: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        first = torch.empty(FEATURES, hidden, dtype=torch.float64)
        first.normal_(0.0, FEATURES**-0.5, generator=generator)
        self.first = nn.Parameter(first)
        self.shift = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.last = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.greed = nn.Parameter(torch.tensor(sharpness, dtype=torch.float64))
        pairs = (layers, experts, gpus)
        self.table = nn.Parameter(torch.zeros(pairs, dtype=torch.float64))

    def forward(
        self, features: Tensor, layer: Tensor, expert: Tensor, allowed: Tensor
    ) -> Tensor:
        """Log-probabilities of the GPUs.

        Parameters
        ----------
        features
            ``[..., gpus, FEATURES]``; the first one is the greedy cost.
        layer, expert
            Which pair of the table each choice belongs to, int64 ``[...]``.
        allowed
            GPUs with a free slot and no copy of the expert, bool ``[..., gpus]``; at
            least one.

        Returns
        -------
        torch.Tensor
            ``[..., gpus]``, -inf where not allowed.
        """
        hidden = torch.tanh(features @ self.first + self.shift)
        score = hidden @ self.last - self.greed * features[..., 0]
        score = score + self.table[layer, expert]
        return torch.log_softmax(score.masked_fill(~allowed, -torch.inf), dim=-1)
