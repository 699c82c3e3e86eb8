"""Bound B: the k heaviest experts of a step must all be somewhere, for every k."""

from gemopt.bounds.steps.minorant import Floats, Minorant


def count_heavy(program: Minorant, bound: Floats) -> Floats:
    """Raise a bound of each step, us ``[steps]``; valid without replicas only.

    Within z us a GPU with s slots and capacity c holds at most m of the k heaviest
    experts, m being the largest number for which the m lightest of these k together
    with the s - m lightest of all experts cost at most c. z is too small if the GPUs
    together hold fewer than k, for any k up to four times the number of GPUs.
    """
    from gemopt.bounds.steps.kernels import count_heavy_into

    raised = bound.copy()
    count_heavy_into(
        program.caps,
        program.line,
        program.base,
        program.per_cost,
        program.rows,
        program.kinds.members,
        program.kinds.slots,
        program.cost,
        program.whole,
        raised,
    )
    return raised
