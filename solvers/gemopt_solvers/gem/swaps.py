"""Descent by the best swap of each pair of GPUs, on the true objective."""

import numpy as np

from gemopt.cost.move_kernels import State, apply_swap, swap_objective
from gemopt.cost.sum_kernels import weighted_sum
from gemopt.jit import kernel
from gemopt.latency.tables import LatencyTables

#: Fields of the cursor of `descend`.
NEXT_PAIR, PAIRS_IN_VAIN = 0, 1


@kernel
def fill_held(phy2log: np.ndarray, slot2gpu: np.ndarray, held: np.ndarray) -> None:
    """Write which experts each GPU holds, bool ``[gpus, experts]``."""
    held[:] = False
    for slot in range(phy2log.shape[0]):
        held[slot2gpu[slot], phy2log[slot]] = True


@kernel
def exchange(
    phy2log: np.ndarray, slot2gpu: np.ndarray, held: np.ndarray, pairs: np.ndarray
) -> None:
    """Swap the slots of each pair ``[n, 2]`` in turn where the row stays feasible."""
    for slot_a, slot_b in pairs:
        a, b = phy2log[slot_a], phy2log[slot_b]
        gpu_a, gpu_b = slot2gpu[slot_a], slot2gpu[slot_b]
        if gpu_a == gpu_b or held[gpu_a, b] or held[gpu_b, a]:
            continue
        phy2log[slot_a], phy2log[slot_b] = b, a
        held[gpu_a, a], held[gpu_a, b] = False, True
        held[gpu_b, b], held[gpu_b, a] = False, True


@kernel
def ever_slowest(state: State, slowest: np.ndarray) -> None:
    """Write which GPUs are the slowest in some step, bool ``[gpus]``."""
    slowest[:] = False
    for t in range(state.top_gpu.shape[1]):
        slowest[state.top_gpu[0, t]] = True


@kernel
def descend(
    tables: LatencyTables,
    state: State,
    held: np.ndarray,  # [gpus, experts] bool, kept up to date
    first_slot: np.ndarray,  # [gpus + 1]
    gpu_pairs: np.ndarray,  # [pairs, 2]
    cursor: np.ndarray,  # [2] int64: next pair, pairs looked at in vain since a swap
    budget: int,
) -> bool:
    """Swap until no pair of GPUs has an improving swap, or `budget` swaps are tried.

    Goes round the pairs of GPUs; each time the best of all swaps between the two is
    applied if it improves. A pair of which neither GPU is ever the slowest cannot
    improve and is passed over. Returns True at a local optimum.
    """
    pairs = gpu_pairs.shape[0]
    slowest = np.empty(held.shape[0], dtype=np.bool_)
    ever_slowest(state, slowest)
    objective = weighted_sum(state.weights, state.top[0])
    tried = 0
    while cursor[PAIRS_IN_VAIN] < pairs:
        if tried >= budget:
            return False
        gpu_a, gpu_b = gpu_pairs[cursor[NEXT_PAIR]]
        cursor[NEXT_PAIR] = (cursor[NEXT_PAIR] + 1) % pairs
        cursor[PAIRS_IN_VAIN] += 1
        if not (slowest[gpu_a] or slowest[gpu_b]):
            continue
        best_a, best_b, best = -1, -1, objective
        for slot_a in range(first_slot[gpu_a], first_slot[gpu_a + 1]):
            if held[gpu_b, state.phy2log[slot_a]]:
                continue
            for slot_b in range(first_slot[gpu_b], first_slot[gpu_b + 1]):
                if held[gpu_a, state.phy2log[slot_b]]:
                    continue
                tried += 1
                value = swap_objective(tables, state, slot_a, slot_b)
                if value < best:
                    best_a, best_b, best = slot_a, slot_b, value
        if best_a >= 0:
            a, b = state.phy2log[best_a], state.phy2log[best_b]
            apply_swap(tables, state, best_a, best_b)
            held[gpu_a, a], held[gpu_a, b] = False, True
            held[gpu_b, b], held[gpu_b, a] = False, True
            ever_slowest(state, slowest)
            objective = weighted_sum(state.weights, state.top[0])
            cursor[PAIRS_IN_VAIN] = 0
    return True
