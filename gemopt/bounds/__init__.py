"""Proven lower bounds on the objective, cheap to strong.

| bound | valid for | idea |
| --- | --- | --- |
| A `water_filling` | everything | tokens flow freely to the GPUs that finish first |
| B `counting` | no replicas | the k heaviest experts must all be somewhere |
| C `program` | everything | who shares a GPU is a positive semidefinite matrix |
| D `sets` | no replicas, few sets | a GPU holds one of finitely many sets of experts |
| `communication` | everything | tokens must travel to what does not fit at home |

C is solved by `first_order` and proven by `certificate` alone; D starts from it, is
solved by `set_solver` and proven by `sets.certified_sets`.
"""

from gemopt.bounds.lower_bound import Bound, lower_bound
from gemopt.bounds.steps.water_filling import water_filling_bound as quick_bound

__all__ = ["Bound", "lower_bound", "quick_bound"]
