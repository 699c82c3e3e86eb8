"""One row model of a layer for CP-SAT and HiGHS."""
