"""Public face: options of the policies."""

from gemopt.serving.config import PolicyConfig, config_from, enabled

__all__ = ["PolicyConfig", "config_from", "enabled"]
