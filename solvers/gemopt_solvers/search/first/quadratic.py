"""Exchanges on a quadratic stand-in for the objective, constant time each.

The stand-in is ``sum_g E[(base_g + scale_g load_g)^2] / scale_g``. Its minimum over
fractional placements makes all latencies equal, on GPUs of different speed too: that is
what the division by ``scale_g`` is for. Loads that swing together cost more on one GPU
than apart, so this is the co-activation graph as an objective.
"""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.state.state import Flags, Floats, Ints, Singles


@kernel
def cross_into(phy2log: Ints, first: Ints, moment: Singles, cross: Singles) -> None:
    """Write E[n_e load_g] of every GPU and expert, float32 ``[gpus, experts]``."""
    gpus, experts = cross.shape
    for g in range(gpus):
        for e in range(experts):
            cross[g, e] = 0.0
        for s in range(first[g], first[g + 1]):
            held = phy2log[s]
            for e in range(experts):
                cross[g, e] += moment[held, e]


@kernel
def quadratic_descent(
    phy2log: Ints, first: Ints, held: Flags, mean: Floats, base: Floats,
    scale: Floats, moment: Singles, cross: Singles, tilt: Singles,
    sweeps: int,
) -> int:  # fmt: skip
    """Do the best exchange of each pair of GPUs, in sweeps over pairs that changed.

    `cross` must hold what `cross_into` writes; it is kept up to date.

    Returns
    -------
    int
        Exchanges done.
    """
    gpus, experts = cross.shape
    changed = np.zeros(gpus, dtype=np.int64)  # sweep of the last change, from 1
    done = 0
    for sweep in range(1, sweeps + 1):
        before = done
        for a in range(gpus):
            for b in range(a + 1, gpus):
                latest = max(changed[a], changed[b])
                if sweep > 1 and latest < sweep - 1:
                    continue
                step = np.float32(2.0 * (base[a] - base[b]))
                scale_a, scale_b = np.float32(scale[a]), np.float32(scale[b])
                one, two = np.float32(1.0), np.float32(2.0)
                both = scale_a + scale_b
                for g in (a, b):
                    sign = -one if g == a else one
                    for s in range(first[g], first[g + 1]):
                        e = phy2log[s]
                        slope = step * np.float32(mean[e]) + two * (
                            scale_a * cross[a, e] - scale_b * cross[b, e]
                        )
                        tilt[e] = sign * slope + both * moment[e, e]
                best = -np.float32(1e-6) * both * (cross[a, phy2log[first[a]]])
                chosen_i, chosen_j = -1, -1
                for i in range(first[a], first[a + 1]):
                    e = phy2log[i]
                    if held[e, b]:
                        continue
                    here = tilt[e]
                    for j in range(first[b], first[b + 1]):
                        f = phy2log[j]
                        change = (tilt[f] + here) - two * both * moment[e, f]
                        if change < best and not held[f, a]:
                            best, chosen_i, chosen_j = change, i, j
                if chosen_i < 0:
                    continue
                e, f = phy2log[chosen_i], phy2log[chosen_j]
                phy2log[chosen_i], phy2log[chosen_j] = f, e
                held[e, a], held[f, a] = False, True
                held[f, b], held[e, b] = False, True
                for k in range(experts):
                    moved = moment[f, k] - moment[e, k]
                    cross[a, k] += moved
                    cross[b, k] -= moved
                changed[a] = changed[b] = sweep
                done += 1
        if done == before:
            break
    return done
