"""Latency: kernels of networks, tables of measured kernels, and predictions from them."""

from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.extract import architecture_kernels, encoder_kernels, module_kernels, tflite_kernels
from nasdepth.latency.predict.card import Calibration, DeviceCard, Validation
from nasdepth.latency.predict.predictor import LatencyEstimate, Predictor, TablePredictor
from nasdepth.latency.predict.table import LatencyTable, Timing
from nasdepth.tflite.micro_models import write_micro_model

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
