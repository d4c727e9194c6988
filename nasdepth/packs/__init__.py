"""Device packs: estimates of latency on devices not at hand, calibrated on whole networks measured there."""

from nasdepth.latency.predict.load import Table, load_predictor, load_table, shipped_tables
from nasdepth.packs.anchors import Anchor, model_kernels, read_anchors, write_anchors
from nasdepth.packs.physical.calibrate import calibrate
from nasdepth.packs.physical.card import Pack, PackCard, Source
from nasdepth.packs.physical.predictor import CalibratedPredictor
from nasdepth.packs.physical.prior import Prior, prior_names, read_prior
from nasdepth.packs.public_models import public_kernels

__all__ = [
    "Anchor",
    "CalibratedPredictor",
    "Pack",
    "PackCard",
    "Prior",
    "Source",
    "Table",
    "calibrate",
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
