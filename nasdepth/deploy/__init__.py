"""Deployment: export to .tflite, run it, score it."""

from nasdepth.deploy.evaluation import evaluate, evaluate_tflite
from nasdepth.deploy.export import Export, export_tflite
from nasdepth.tflite.depth_model import TFLiteDepth

__all__ = ["Export", "TFLiteDepth", "evaluate", "evaluate_tflite", "export_tflite"]
