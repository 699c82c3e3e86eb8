"""Placements of many layers and starts at once, in tensors: an experiment on GPUs.

The steps of `search` for equal slots and latency that is a line in tokens; every round
does the best exchanges of disjoint pairs of GPUs in every layer and start together.
"""

import torch

from gemopt.traffic.synthetic import BASE_US, US_PER_TOKEN

EXPERTS, GPUS, HELD = 256, 32, 9
SLOTS = GPUS * HELD
TRIES = 4  #: exchanges evaluated for each pair of GPUs
TOGETHER = 6  #: most exchanges of one layer in one round
BLUR = 0.012  #: softening of the local model, part of the mean latency
LEAST = 1e-6
ROUNDS = 400
WIDTH = 4  #: steps of a window

Tensor = torch.Tensor


def by_gpu(slots: Tensor) -> Tensor:
    """Split what is ``[B, slots, ...]`` into ``[B, gpus, held, ...]``."""
    return slots.reshape(len(slots), GPUS, HELD, *slots.shape[2:])


class Batch:
    """Placements of every layer from every start, on one device.

    ``B`` = starts times layers. `row` ``[B, slots]`` is the expert of each slot; `load`
    ``[B, experts, steps]`` that of one copy; `moment` ``[B, experts, experts]``.
    """

    def __init__(self, counts: Tensor, starts: tuple[float, ...], speed: Tensor):
        steps = counts.shape[0]
        tokens = counts.permute(1, 2, 0).float()  # [layers, experts, steps]
        windows = tokens.reshape(*tokens.shape[:2], steps // WIDTH, WIDTH).mean(3)
        mean, deviation = windows.mean(2), windows.std(2, unbiased=False)
        need = torch.cat([mean + z * deviation for z in starts])
        copies = dealt(need)
        many = len(starts)
        self.load = tokens.repeat(many, 1, 1) / copies[..., None]
        self.mean = mean.repeat(many, 1) / copies
        window = windows.repeat(many, 1, 1) / copies[..., None]
        self.moment = window @ window.mT / window.shape[2]
        self.base, self.scale = BASE_US / speed, US_PER_TOKEN / speed
        self.row = greedy(self.mean, copies, self.base, self.scale)
        self.index = torch.arange(len(self.row), device=counts.device)[:, None]
        self.first, self.second = torch.triu_indices(
            GPUS, GPUS, 1, device=counts.device
        ).unbind()

    def latency(self, row: Tensor) -> Tensor:
        """Latency of every GPU, us ``[B, gpus, steps]``."""
        held = by_gpu(self.load[self.index, row]).sum(2)
        return self.base[:, None] + self.scale[:, None] * held

    def refused(self) -> Tensor:
        """Exchanges after which a GPU would hold an expert twice ``[B, S, S]``."""
        mine = by_gpu(self.row)
        holds = (self.row[:, :, None, None] == mine[:, None]).any(3)  # [B, S, G]
        there = holds.repeat_interleave(HELD, dim=2)
        return there | there.mT

    def distance(self) -> Tensor:
        """E[(n_e - n_f)^2] of the experts of all pairs of slots ``[B, S, S]``."""
        among = self.moment[self.index[:, :, None], self.row[:, :, None],
                            self.row[:, None, :]]  # fmt: skip
        own = torch.diagonal(among, dim1=1, dim2=2)
        return own[:, :, None] + own[:, None, :] - 2.0 * among

    def changes(self, slope: Tensor, bend: Tensor) -> Tensor:
        """Predicted change of every exchange, by pair of GPUs ``[B, pairs, K * K]``.

        `slope` ``[B, gpus, slots]`` is the rise of the objective when the load of a
        slot's expert comes to a GPU; `bend` ``[B or 1, gpus, gpus]`` half the
        curvature of exchanges between two GPUs.
        """
        at = slope.repeat_interleave(HELD, dim=1).mT  # [B, slot, slot of the GPU]
        own = torch.diagonal(at, dim1=1, dim2=2)
        bent = bend.repeat_interleave(HELD, 1).repeat_interleave(HELD, 2)
        change = at + at.mT - own[:, :, None] - own[:, None, :]
        change += bent * self.distance()
        change.masked_fill_(self.refused(), torch.inf)
        blocks = change.reshape(-1, GPUS, HELD, GPUS, HELD)
        blocks = blocks.transpose(2, 3).flatten(3)  # [B, gpus, gpus, K * K]
        return blocks[:, self.first, self.second]

    def exchanged(self, pair: Tensor, cell: Tensor, doing: Tensor) -> None:
        """Exchange cell ``[B]`` of GPU pair ``[B]`` where `doing`."""
        at = self.index[:, 0]
        i = self.first[pair] * HELD + cell // HELD
        j = self.second[pair] * HELD + cell % HELD
        e, f = self.row[at, i], self.row[at, j]
        self.row[at, i] = torch.where(doing, f, e)
        self.row[at, j] = torch.where(doing, e, f)

    def disjoint(self, gain: Tensor, most: int) -> list[tuple[Tensor, Tensor]]:
        """Pick pairs of GPUs by gain ``[B, pairs]``, none with a GPU picked before."""
        left, picked = gain.clone(), []
        for _ in range(most):
            value, pair = left.max(1)
            picked.append((pair, value > 0.0))
            a, b = self.first[pair][:, None], self.second[pair][:, None]
            touched = (self.first == a) | (self.second == a)
            touched |= (self.first == b) | (self.second == b)
            left.masked_fill_(touched, -torch.inf)
        return picked

    def quadratic(self) -> int:
        """Exchange on the quadratic stand-in until nothing gains; return rounds."""
        scale = self.scale[:, None]
        bend = (self.scale[:, None] + self.scale[None, :])[None]
        floor = LEAST * float(self.moment.mean() * self.scale.mean())
        for done in range(ROUNDS):
            mine = by_gpu(self.row)
            cross = self.moment[self.index[:, :, None], mine.flatten(1)[:, :, None],
                                self.row[:, None, :]]  # fmt: skip
            cross = by_gpu(cross).sum(2)  # [B, gpus, slots]
            mean = self.mean[self.index, self.row][:, None]
            slope = 2.0 * (self.base[:, None] * mean + scale * cross)
            value, cell = self.changes(slope, bend).min(2)
            gain = -value - floor
            for pair, doing in self.disjoint(gain, GPUS // 2):
                self.exchanged(pair, cell[self.index[:, 0], pair], doing)
            if done % 4 == 3 and not bool((gain > 0).any()):
                return done
        return ROUNDS

    def refine(self) -> int:
        """Exchange on the true objective until nothing tried gains; return rounds."""
        for done in range(ROUNDS):
            latency = self.latency(self.row)
            top, who = latency.topk(3, dim=1)  # [B, 3, steps]
            cost = top[:, 0].sum(1)
            gain, cell = self._tried(latency, top, who, cost)
            least, kept = cost * (1.0 - LEAST), self.row.clone()
            for pair, doing in self.disjoint(gain, TOGETHER):
                self.exchanged(pair, cell[self.index[:, 0], pair], doing)
                now = self.latency(self.row).amax(1).sum(1)
                better = (now < least)[:, None]
                kept = torch.where(better, self.row, kept)
                least = torch.minimum(now, least)
            moved = (kept != self.row).any() | (least < cost * (1.0 - LEAST)).any()
            self.row = kept
            if done % 8 == 7 and not bool(moved):
                return done
        return ROUNDS

    def _tried(
        self, latency: Tensor, top: Tensor, who: Tensor, cost: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gain and cell of the best exchange tried of each pair of GPUs."""
        steps = latency.shape[2]
        blur = (BLUR * cost / steps)[:, None, None]
        soft = torch.softmax((latency - top[:, :1]) / blur, dim=1)
        pull = soft * self.scale[:, None]  # [B, gpus, steps]
        held = self.load[self.index, self.row]  # [B, slots, steps]
        slope = pull @ held.mT
        curve = (pull * self.scale[:, None]).sum(2)
        bend = curve[:, :, None] + curve[:, None, :]
        square = (pull * pull).sum(2)
        bend = bend - square[:, :, None] - square[:, None, :] + 2.0 * (pull @ pull.mT)
        _, cells = self.changes(slope, 0.5 * bend / blur).topk(TRIES, 2, largest=False)
        a, b = self.first[None, :, None], self.second[None, :, None]
        one, two = who[:, None, 0], who[:, None, 1]
        below = torch.where((two == a) | (two == b), top[:, None, 2], top[:, None, 1])
        rest = torch.where((one == a) | (one == b), below, top[:, None, 0])
        i = (a * HELD + cells // HELD).flatten(1)
        j = (b * HELD + cells % HELD).flatten(1)
        shift = held[self.index, j] - held[self.index, i]
        shift = shift.reshape(len(shift), -1, TRIES, shift.shape[2])
        scale = self.scale[:, None, None]
        first = latency[:, self.first, None] + scale[self.first] * shift
        second = latency[:, self.second, None] - scale[self.second] * shift
        after = torch.maximum(first, second).maximum(rest[:, :, None]).sum(3)
        twice = self.refused()[self.index, i, j].reshape(cells.shape)
        value, chosen = after.masked_fill(twice, torch.inf).min(2)
        gain = cost[:, None] * (1.0 - LEAST) - value
        return gain, cells.gather(2, chosen[..., None])[..., 0]


def dealt(need: Tensor) -> Tensor:
    """Copies of each expert ``[B, experts]``: the next to the largest need a copy."""
    copies = torch.ones_like(need)
    for _ in range(SLOTS - EXPERTS):
        share = torch.where(copies < GPUS, need / copies, -1.0)
        copies.scatter_add_(1, share.argmax(1, keepdim=True), torch.ones_like(need))
    return copies


def greedy(mean: Tensor, copies: Tensor, base: Tensor, scale: Tensor) -> Tensor:
    """Place the largest first, each copy on the GPU that ends first ``[B, slots]``."""
    batch, device = len(mean), mean.device
    # Every copy is an item, largest first; copies of an expert follow each other.
    order = torch.argsort(mean, dim=1, descending=True, stable=True)
    ends = copies.gather(1, order).cumsum(1)
    item = torch.arange(SLOTS, device=device, dtype=ends.dtype).expand(batch, -1)
    experts = order.gather(1, torch.searchsorted(ends, item.contiguous(), right=True))
    loads = mean.gather(1, experts)
    row = torch.zeros(batch, SLOTS, dtype=torch.int64, device=device)
    used = torch.zeros(batch, GPUS, dtype=torch.int64, device=device)
    finish = base.repeat(batch, 1)
    holds = torch.zeros(batch, GPUS, device=device)  # of the present expert
    last = torch.full((batch, 1), -1, device=device)
    for k in range(SLOTS):
        expert = experts[:, k : k + 1]
        holds = torch.where(expert == last, holds, 0.0)
        end = finish + scale * loads[:, k : k + 1]
        closed = (used >= HELD) * 1e12 + holds * 1e9  # twice only if nothing else
        gpu = (end + closed).argmin(1, keepdim=True)
        row.scatter_(1, gpu * HELD + used.gather(1, gpu), expert)
        used.scatter_add_(1, gpu, torch.ones_like(gpu))
        finish.scatter_(1, gpu, end.gather(1, gpu))
        holds = holds.scatter(1, gpu, 1.0)
        last = expert
    return row
