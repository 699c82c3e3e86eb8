"""Hugging Face transformers: recording what a model's routers choose."""
