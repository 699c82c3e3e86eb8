"""Exact solving: one folder a method, and what they share.

Shared: `backend` (the problem of one layer, an answer, the protocol of a method),
`rounds` (layer after layer; the class that solvers derive from), `solver` (`exact`,
which plans methods one after the other).

======================  ======================================================
folder                  method
======================  ======================================================
`sets`                  `bnb`: branch and bound over whole sets of experts
`copies`                what `bnb` does where experts have replicas
`rows`                  `cpsat` and `milp`: one row model of a layer for both
`communication`         `cpsat` and `exact` with an all-to-all
`lp`                    `lpbb`: branch and bound on linear programs, own simplex
======================  ======================================================

docs/exact.md says what each takes and proves.
"""
