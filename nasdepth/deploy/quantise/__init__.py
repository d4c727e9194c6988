"""Files of lower precision: int8 after calibration, or half-precision weights; made of float files."""

from nasdepth.deploy.quantise.convert import (
    Converted,
    convert_for_timing,
    convert_precision,
    read_float,
    require_calibration,
)
from nasdepth.deploy.quantise.ranges import LEAST_IMAGES, Calibration
from nasdepth.deploy.quantise.verify import (
    REFUSE_SI_RMSE,
    WARN_SI_RMSE,
    LayerNoise,
    Verification,
)

__all__ = [
    "LEAST_IMAGES",
    "REFUSE_SI_RMSE",
    "WARN_SI_RMSE",
    "Calibration",
    "Converted",
    "LayerNoise",
    "Verification",
    "convert_for_timing",
    "convert_precision",
    "read_float",
    "require_calibration",
]
