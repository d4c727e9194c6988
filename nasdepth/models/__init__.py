"""Depth networks from architectures."""

from nasdepth.models.depthnet import DepthNet, build
from nasdepth.models.zoo import name_of, named_designs, resolve

__all__ = ["DepthNet", "build", "name_of", "named_designs", "resolve"]
