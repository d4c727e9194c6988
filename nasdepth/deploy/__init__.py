"""Deployment: export to .tflite, run it, score it."""

from nasdepth.deploy.evaluation import evaluate, evaluate_tflite
from nasdepth.deploy.export import Export, deploy, export_tflite
from nasdepth.deploy.quantise import Calibration, Converted, Verification
from nasdepth.tflite.depth_model import TFLiteDepth

__all__ = [
    "Calibration",
    "Converted",
    "Export",
    "TFLiteDepth",
    "Verification",
    "deploy",
    "evaluate",
    "evaluate_tflite",
    "export_tflite",
]
