"""Neural architecture search for single-image depth, constrained by measured latency."""

__version__ = "0.2.0"
