"""vLLM: load windows, and JSON expert maps (proposed upstream)."""
