"""The score of the Mobile AI depth challenge, and what its terms are worth against each other.

Score = 2^(-20 si-RMSE) / (C * runtime), C = 1.5625e-6 with the runtime in milliseconds. The constant
reproduces the published tables of 2021 and 2022 (`tests/test_score.py`).
"""

from __future__ import annotations

import math

C_PER_MS = 1.5625e-6
SI_RMSE_EXPONENT = 20.0


def score(si_rmse: float, latency_ms: float) -> float:
    """The challenge score of a fidelity (si-RMSE) and a runtime in milliseconds.

    Raises:
        ValueError: a runtime that is not positive, or a negative si-RMSE.
    """
    return 2.0 ** log2_score(si_rmse, latency_ms)


def log2_score(si_rmse: float, latency_ms: float) -> float:
    """log2 of `score`: additive in its terms, hence what the search maximises."""
    if not latency_ms > 0:
        raise ValueError(f"latency_ms is {latency_ms}; it must be positive")
    if not si_rmse >= 0:
        raise ValueError(f"si_rmse is {si_rmse}; it must not be negative")
    return -SI_RMSE_EXPONENT * si_rmse - math.log2(C_PER_MS * latency_ms)


def si_rmse_worth(latency_ratio: float) -> float:
    """The si-RMSE that buys a change of runtime by `latency_ratio`: 2 is worth 0.05, 1.1 is worth 0.0069."""
    return math.log2(latency_ratio) / SI_RMSE_EXPONENT
