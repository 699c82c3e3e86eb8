"""vllm-ascend: load views, and JSON expert maps."""
