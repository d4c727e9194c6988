"""From networks to kernels: torch modules, .tflite files and architectures."""

from __future__ import annotations

from functools import lru_cache

from nasdepth.architecture import Architecture, Encoder
from nasdepth.latency._from_module import module_kernels
from nasdepth.latency._from_tflite import tflite_kernels
from nasdepth.latency._skeleton import Skeleton
from nasdepth.latency.kernels import Kernel
from nasdepth.models import DepthNet
from nasdepth.models.encoders import EncoderNet

__all__ = ["architecture_kernels", "module_kernels", "tflite_kernels"]


@lru_cache(maxsize=65536)
def architecture_kernels(architecture: Architecture) -> tuple[Kernel, ...]:
    """The kernels that an architecture runs when it is deployed, in order.

    Raises:
        UnknownKernelError: it uses an operation that has no kernel.
    """
    encoder = _encoder(architecture.encoder)
    with Skeleton():
        model = DepthNet(architecture, encoder)
    return module_kernels(model)


# Building encoders is two thirds of the work, and a space of any size has only hundreds of them
@lru_cache(maxsize=1024)
def _encoder(spec: Encoder) -> EncoderNet:
    with Skeleton():
        return EncoderNet(spec).eval()
