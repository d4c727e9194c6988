"""Kernels: operations that a runtime executes, graphs of them, and what each runtime fuses and delegates."""

from nasdepth.kernels.graph import Node, fuse
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import RUNTIMES, load_rules, partitions

__all__ = ["RUNTIMES", "Kernel", "Node", "fuse", "load_rules", "partitions"]
