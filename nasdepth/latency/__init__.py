"""Latency: kernels of networks, tables of measured kernels, and predictions from them."""

from nasdepth.kernels import Kernel
from nasdepth.latency.accuracy import Validation
from nasdepth.latency.extract import architecture_kernels, encoder_kernels, module_kernels, tflite_kernels
from nasdepth.latency.predict import (
    Calibration,
    CardFile,
    DeviceCard,
    DeviceSetting,
    LatencyEstimate,
    LatencyTable,
    Predictor,
    Table,
    TablePredictor,
    Timing,
    load_predictor,
    load_table,
    register_predictor,
    runtime_of,
    shipped_tables,
)
from nasdepth.tflite import write_micro_model

__all__ = [
    "Calibration",
    "CardFile",
    "DeviceCard",
    "DeviceSetting",
    "Kernel",
    "LatencyEstimate",
    "LatencyTable",
    "Predictor",
    "Table",
    "TablePredictor",
    "Timing",
    "Validation",
    "architecture_kernels",
    "encoder_kernels",
    "load_predictor",
    "load_table",
    "module_kernels",
    "register_predictor",
    "runtime_of",
    "shipped_tables",
    "tflite_kernels",
    "write_micro_model",
]
