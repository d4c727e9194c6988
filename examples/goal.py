"""A goal of your own: the lowest si-RMSE, where each doubling of the time above 10 ms is worth 0.02 of it."""

from __future__ import annotations

import numpy as np

from nasdepth.searching.goals import Goal, register_goal


@register_goal("soft-limit")
def soft_limit(limit_ms: float = 10.0, worth: float = 0.02) -> Goal:
    """The lowest si-RMSE; each doubling of the time above a limit costs some."""
    return Goal(20.0, lambda latency_ms: 20.0 * worth * np.log2(np.maximum(latency_ms / limit_ms, 1.0)))
