"""The communication side of an instance: links, bytes, and who is chosen together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gemopt.model.expert_groups import check_groups, check_tokens
from gemopt.model.pairs import pair_shares
from gemopt.model.topology import Topology

if TYPE_CHECKING:
    from gemopt.arrays import Ints
    from gemopt.model.tokens import Floats, TokenRouting


@dataclass(frozen=True, eq=False)
class Communication:
    """What an all-to-all of a step costs.

    Tokens start on the GPU of their data-parallel rank, travel to the GPUs of their
    experts (dispatch) and back (combine).

    Parameters
    ----------
    topology
        Links between the GPUs.
    hidden
        Elements of a token's activation.
    dispatch_bytes, combine_bytes
        Bytes of an element on the way to the experts and back (1 = fp8, 2 = bf16).
    overlap
        Share of the shorter of compute and communication that is hidden behind the
        longer one: 0 = one after the other, 1 = perfect overlap.
    top_k
        Experts that a token chooses in a layer.
    pairs
        Share of tokens that chose both experts, float64 ``[layers, experts, experts]``,
        symmetric; the diagonal holds the share that chose the expert.
    routing
        Per-token ids of the same steps; with them evaluation is exact, without them
        it uses `pairs`.
    n_group, topk_group
        Group-limited routing, see `gemopt.model.expert_groups`; 1 and 1 without.

    Raises
    ------
    ValueError
        A size that is not positive, an overlap outside 0..1, or tokens whose experts
        lie in more groups than `topk_group`.
    """

    topology: Topology
    hidden: int
    top_k: int
    pairs: Floats
    dispatch_bytes: float = 2.0
    combine_bytes: float = 2.0
    overlap: float = 0.0
    routing: TokenRouting | None = None
    n_group: int = 1
    topk_group: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden", "top_k", "dispatch_bytes", "combine_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)} must be > 0")
        if not 0.0 <= self.overlap <= 1.0:
            raise ValueError(f"overlap = {self.overlap} must be between 0 and 1")
        if self.pairs.ndim != 3 or self.pairs.shape[1] != self.pairs.shape[2]:
            raise ValueError(
                f"pairs has shape {self.pairs.shape}, needs [layers, experts, experts]"
            )
        experts = self.pairs.shape[1]
        check_groups(self.n_group, self.topk_group, experts)
        if self.routing is not None:
            ids = self.routing.expert_ids
            check_tokens(ids, self.n_group, self.topk_group, experts)

    @classmethod
    def from_routing(
        cls,
        routing: TokenRouting,
        topology: Topology,
        *,
        num_experts: int,
        hidden: int,
        dispatch_bytes: float = 2.0,
        combine_bytes: float = 2.0,
        overlap: float = 0.0,
    ) -> Communication:
        """Build from per-token ids; `pairs` is counted from them."""
        return cls(
            topology=topology,
            hidden=hidden,
            top_k=routing.top_k,
            pairs=pair_shares(routing, num_experts),
            dispatch_bytes=dispatch_bytes,
            combine_bytes=combine_bytes,
            overlap=overlap,
            routing=routing,
            n_group=routing.n_group,
            topk_group=routing.topk_group,
        )

    @property
    def round_trip_bytes(self) -> float:
        """Bytes of one token to one destination and back."""
        return self.hidden * (self.dispatch_bytes + self.combine_bytes)

    def steps(self, start: int, stop: int) -> Communication:
        """Return the communication of steps ``start <= t < stop``.

        With per-token ids the pairs are counted anew, so that no unseen step shows.
        """
        if self.routing is None:
            return self
        routing = self.routing.steps(start, stop)
        return replace(
            self, routing=routing, pairs=pair_shares(routing, self.pairs.shape[1])
        )

    def layer(self, index: int) -> Communication:
        """Return the communication of one layer."""
        routing = None if self.routing is None else self.routing.layer(index)
        return replace(self, pairs=self.pairs[index : index + 1], routing=routing)


def checked_communication(
    comm: Communication | None, counts: Ints
) -> Communication | None:
    """Return `comm`; raise ValueError where it is not of `counts`.

    `counts` is int64 ``[steps, layers, experts]``.
    """
    if comm is None:
        return None
    steps, layers, experts = counts.shape
    if comm.pairs.shape != (layers, experts, experts):
        raise ValueError(
            f"comm.pairs has shape {comm.pairs.shape}, needs "
            f"{(layers, experts, experts)}"
        )
    if comm.routing is not None:
        routed = comm.routing.counts(experts)
        if routed.shape != counts.shape or (routed != counts).any():
            raise ValueError(
                f"comm.routing has {comm.routing.num_steps} steps whose counts differ "
                f"from counts [{steps}, {layers}, {experts}]"
            )
    return comm
