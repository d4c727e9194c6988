"""Packs of physical terms: a kernel's time as a sum of coefficients times amounts, fitted to networks."""

from nasdepth.packs.physical.calibrate import calibrate_pack
from nasdepth.packs.physical.card import Pack, PackCard
from nasdepth.packs.physical.predictor import CalibratedPredictor
from nasdepth.packs.physical.prior import Prior, prior_names, read_prior

__all__ = ["CalibratedPredictor", "Pack", "PackCard", "Prior", "calibrate_pack", "prior_names", "read_prior"]
