"""Packs of GPUs under TFLite's delegate: its choice of kernels as rules, their times as forms."""

from nasdepth.packs.gpu.card import GpuPack, GpuPackCard
from nasdepth.packs.gpu.predictor import GpuPredictor
from nasdepth.packs.gpu.prior import GpuPrior, gpu_priors, read_gpu_prior

__all__ = ["GpuPack", "GpuPackCard", "GpuPredictor", "GpuPrior", "gpu_priors", "read_gpu_prior"]
