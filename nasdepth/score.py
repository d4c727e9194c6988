"""The score of the Mobile AI depth challenge, and what its terms are worth against each other.

Score = 2^(-20 si-RMSE) / (C * runtime), C = 1.5625e-6 with the runtime in milliseconds. The constant
reproduces the published tables of 2021 and 2022 (`tests/test_score.py`).
"""

from __future__ import annotations

import math

C_PER_MS = 1.5625e-6
SI_RMSE_EXPONENT = 20.0


def score(si_rmse: float, latency_ms: float) -> float:
    """The challenge's score of a network.

    Args:
        si_rmse: its scale-invariant RMSE on the test images, 0 or more.
        latency_ms: its runtime in milliseconds, above 0.

    Raises:
        ValueError: a runtime that is not positive, or a negative si-RMSE.

    >>> round(score(0.2773, 46), 2)  # TCL, the winner of 2022
    297.79
    """
    return 2.0 ** log2_score(si_rmse, latency_ms)


def log2_score(si_rmse: float, latency_ms: float) -> float:
    """The base-2 logarithm of `score`, which is a sum of two terms and is what a search maximises.

    Raises:
        ValueError: as `score`.

    >>> round(log2_score(0.25, 10) - log2_score(0.30, 10), 6)  # 0.05 less si-RMSE doubles the score
    1.0
    """
    if not latency_ms > 0:
        raise ValueError(f"latency_ms is {latency_ms}; it must be positive")
    if not si_rmse >= 0:
        raise ValueError(f"si_rmse is {si_rmse}; it must not be negative")
    return -SI_RMSE_EXPONENT * si_rmse - math.log2(C_PER_MS * latency_ms)


def si_rmse_worth(latency_ratio: float) -> float:
    """By how much si-RMSE may rise when the runtime falls by a factor of `latency_ratio`, at the same score.

    >>> si_rmse_worth(2)
    0.05
    """
    return math.log2(latency_ratio) / SI_RMSE_EXPONENT
