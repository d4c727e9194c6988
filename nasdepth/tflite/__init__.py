"""TFLite files: reading and writing flatbuffers, micro models of single kernels, and running depth models."""

from nasdepth.tflite.depth_model import TFLiteDepth
from nasdepth.tflite.flatbuffer import operator_name, read_model, write_model
from nasdepth.tflite.micro_models import write_micro_model, write_network

__all__ = ["TFLiteDepth", "operator_name", "read_model", "write_micro_model", "write_model", "write_network"]
