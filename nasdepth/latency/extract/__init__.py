"""From networks to kernels: torch modules, .tflite files and architectures."""

from nasdepth.latency.extract.from_architecture import architecture_kernels, encoder_kernels
from nasdepth.latency.extract.from_torch import module_kernels, module_nodes
from nasdepth.tflite.file_kernels import tflite_kernels

__all__ = ["architecture_kernels", "encoder_kernels", "module_kernels", "module_nodes", "tflite_kernels"]
