"""Neural architecture search for single-image depth, constrained by measured latency."""

__version__ = "0.1.0"
