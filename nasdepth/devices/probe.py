"""The probe model of a diagnosis, a file that lies beside this one: XNNPACK should take it in one partition.

Its operations are CONV_2D, DEPTHWISE_CONV_2D, HARD_SWISH, ADD and RESIZE_BILINEAR, in float32 with random
weights, from an input of (1, 64, 64, 16) to an output of (1, 128, 128, 16).
"""

from __future__ import annotations

from pathlib import Path

PROBE = Path(__file__).with_name("probe.tflite")
PROBE_OPERATIONS = 5
