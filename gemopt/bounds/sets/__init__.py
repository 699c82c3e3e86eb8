"""Bound D: a GPU holds one of finitely many sets of experts."""
