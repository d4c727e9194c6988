"""Latency: kernels of networks, tables of measured kernels, and predictions from them."""

from nasdepth.latency.card import Calibration, DeviceCard, Validation
from nasdepth.latency.extract import architecture_kernels, encoder_kernels, module_kernels, tflite_kernels
from nasdepth.latency.kernels import Kernel
from nasdepth.latency.micro import write_micro_model
from nasdepth.latency.predictor import LatencyEstimate, Predictor, TablePredictor
from nasdepth.latency.table import LatencyTable, Timing

__all__ = [
    "Calibration",
    "DeviceCard",
    "Kernel",
    "LatencyEstimate",
    "LatencyTable",
    "Predictor",
    "TablePredictor",
    "Timing",
    "Validation",
    "architecture_kernels",
    "encoder_kernels",
    "module_kernels",
    "tflite_kernels",
    "write_micro_model",
]
