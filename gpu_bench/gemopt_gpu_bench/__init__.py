"""Measurements of what MoE experts cost on real GPUs."""
