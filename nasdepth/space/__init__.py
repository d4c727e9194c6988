"""Search spaces: YAML in, architectures out."""

from nasdepth.space.space import SearchSpace

__all__ = ["SearchSpace"]
