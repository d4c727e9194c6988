"""From kernels to a latency: tables and cards, regression, calibration, predictors and their loading."""

from nasdepth.latency.predict.card import Calibration, DeviceCard, DeviceSetting
from nasdepth.latency.predict.files import shipped_tables
from nasdepth.latency.predict.kinds import register_predictor
from nasdepth.latency.predict.load import load_predictor, load_table
from nasdepth.latency.predict.predictor import LatencyEstimate, Predictor, runtime_of
from nasdepth.latency.predict.table import CardFile, LatencyTable, Table, Timing
from nasdepth.latency.predict.table_predictor import TablePredictor

__all__ = [
    "Calibration",
    "CardFile",
    "DeviceCard",
    "DeviceSetting",
    "LatencyEstimate",
    "LatencyTable",
    "Predictor",
    "Table",
    "TablePredictor",
    "Timing",
    "load_predictor",
    "load_table",
    "register_predictor",
    "runtime_of",
    "shipped_tables",
]
