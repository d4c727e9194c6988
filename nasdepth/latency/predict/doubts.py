"""Whether a latency table or a device pack is good enough to search with, by the figures of its own card."""

from __future__ import annotations

from scipy.stats import binom

from nasdepth.latency.accuracy import Validation
from nasdepth.latency.predict.calibration import FACTOR_BOUNDS
from nasdepth.latency.predict.card import Calibration, DeviceCard, DeviceSetting

MOST_MAPE_PERCENT = 15.0
LEAST_SPEARMAN = 0.95
# Ranks of fewer networks change places by chance, and so few misses of an interval happen by chance
_FEWEST_TO_RANK, _CHANCE = 8, 0.01
# Cards hold factors with four digits
_ROUNDING = 1e-3


def doubt_of(name: str, card: DeviceSetting) -> str:
    """One sentence on why a table is bad and how to mend it; empty where its card shows nothing of the kind.

    A table is bad where factors of its calibration are at their bounds, its validation has a mean absolute
    error above 15 % or a rank correlation below 0.95, or networks lie outside of their 90 % intervals so
    often that chance does not explain it.
    """
    reasons = []
    if isinstance(card, DeviceCard) and card.calibration is not None:
        reasons += _of_calibration(card.calibration)
    if (validation := card.figures()) is not None:
        reasons += _of_validation(validation)
    if not reasons:
        return ""
    mend = (
        "build it again with more minutes on a device that does nothing else (`nasdepth doctor`)"
        if card.kind == "measured"
        else "fit it to your device with `nasdepth latency calibrate`"
    )
    return f"do not search with {name}: {', '.join(reasons)}; {mend}"


def _of_calibration(calibration: Calibration) -> list[str]:
    low, high = FACTOR_BOUNDS
    at_bounds = [
        group
        for group, factor in calibration.factors.items()
        if factor <= low + _ROUNDING or factor >= high - _ROUNDING
    ]
    if not at_bounds:
        return []
    return [f"{len(at_bounds)} of {len(calibration.factors)} calibration factors are at their bounds"]


def _of_validation(validation: Validation) -> list[str]:
    reasons = []
    if validation.mape_percent > MOST_MAPE_PERCENT:
        reasons.append(f"its predictions are off by {validation.mape_percent:g} % on average")
    if validation.models >= _FEWEST_TO_RANK and validation.spearman < LEAST_SPEARMAN:
        figures = f"Spearman {validation.spearman:g}, at least {LEAST_SPEARMAN:g}"
        reasons.append(f"it ranks networks badly ({figures})")
    inside = round(validation.interval_90_coverage_percent * validation.models / 100)
    if binom.cdf(inside, validation.models, 0.9) < _CHANCE:
        reasons.append(f"only {validation.interval_90_coverage_percent:g} % lie in their 90 % intervals")
    return reasons
