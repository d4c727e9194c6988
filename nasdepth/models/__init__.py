"""Depth networks from architectures, and teachers for them."""

from nasdepth.models.any_network import AnyNetwork, build_any, parse_any, start_from_imagenet
from nasdepth.models.depthnet import DepthNet, build
from nasdepth.models.teachers import Teacher, TeacherNet
from nasdepth.zoo import name_of, named_designs, resolve

__all__ = [
    "AnyNetwork",
    "DepthNet",
    "Teacher",
    "TeacherNet",
    "build",
    "build_any",
    "name_of",
    "named_designs",
    "parse_any",
    "resolve",
    "start_from_imagenet",
]
