"""Links between GPUs, measured."""
