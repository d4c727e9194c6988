"""Device packs: estimates of latency on devices not at hand, calibrated on whole networks measured there.

Importing this package registers its two kinds of predictors, of physical terms and of TFLite's GPU delegate.
"""

from nasdepth.latency.predict import Table, load_predictor, load_table, shipped_tables
from nasdepth.packs.anchors import Anchor, model_kernels, read_anchors, write_anchors
from nasdepth.packs.gpu import GpuPack, GpuPredictor
from nasdepth.packs.physical import (
    CalibratedPredictor,
    Pack,
    PackCard,
    Prior,
    calibrate_pack,
    prior_names,
    read_prior,
)
from nasdepth.packs.public_models import public_kernels
from nasdepth.packs.source import Source

__all__ = [
    "Anchor",
    "CalibratedPredictor",
    "GpuPack",
    "GpuPredictor",
    "Pack",
    "PackCard",
    "Prior",
    "Source",
    "Table",
    "calibrate_pack",
    "load_predictor",
    "load_table",
    "model_kernels",
    "prior_names",
    "public_kernels",
    "read_anchors",
    "read_prior",
    "shipped_tables",
    "write_anchors",
]
