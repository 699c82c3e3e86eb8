"""Steps of placing that solvers and serving share."""
