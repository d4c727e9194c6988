"""`Belief`: what is known of a device's coefficients, before a fit or after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nasdepth.kernels.kernel import Kernel

# What networks inform: of its variance before any was measured, at most so much is left
LEFT_OF_VARIANCE = 0.5
# A runtime's next version or another board is faster or slower as a whole by about this much (as a
# logarithm), and its single terms by about that much beside it: TFLite 2.2 to 2.7 differ so on one Pi 4
_COMMON_SD, _OWN_SD = 0.5, 0.1
# What the terms leave out there is not what they leave out here, and rather more
_NOISE_THERE, _NOISE_COUNT = 1.25, 4.0
# Families left out of the Pi 4's packs were off by 0.57 to 1.2 of their novelty, beyond what the errors of
# coefficients explain
_NOVELTY_SD = 0.6


@dataclass(frozen=True, slots=True)
class Roofline:
    """What no kernel is faster than."""

    gflops: float
    bandwidth_gb_s: float

    def ms(self, kernel: Kernel) -> float:
        """The longer of computing at the peak and of moving every byte once."""
        moved = kernel.in_bytes + kernel.out_bytes + kernel.weight_bytes
        return max(2e-6 * kernel.macs / self.gflops, 1e-6 * moved / self.bandwidth_gb_s)


@dataclass(frozen=True)
class Belief:
    """Normal distribution of the logarithms of n coefficients, and what surrounds it.

    Attributes:
        terms: n names, see `nasdepth.packs.physical.terms`.
        mean: (n,) float64, natural logarithms of ms of a term's unit.
        covariance: (n, n) float64.
        noise: relative sd of a network beside its coefficients' errors.
        noise_count: how many networks that figure is worth.
        roofline: of the device at this precision.
        unmeasured_sd: (n,) float64, of the logarithms before any network was measured.
        anchored: terms that measured networks inform: at most half of the variance before is left.
        shares: {term: (lowest, highest) share of a measured network's time}.
        novelty_sd: relative sd of a network that has nothing in common with the measured ones.
        sd_factor: makes nine in ten of left-out networks fall into their interval.
    """

    terms: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    roofline: Roofline
    unmeasured_sd: np.ndarray
    noise_count: float = 4.0
    anchored: frozenset[str] = frozenset()
    shares: dict[str, tuple[float, float]] = field(default_factory=dict)
    novelty_sd: float = _NOVELTY_SD
    sd_factor: float = 1.0

    def informed(self, slopes: np.ndarray) -> bool:
        """Whether measured networks inform a time with these parts (n,), in ms of each term.

        Where terms go together in all of them, the sum may be known and the parts not.
        """
        before = float(np.square(slopes * self.unmeasured_sd).sum())
        return float(slopes @ self.covariance @ slopes) <= LEFT_OF_VARIANCE * before * (1 + 1e-9)

    def loosened(self) -> Belief:
        """As a prior for another board or version of the runtime: a common factor, and less of each."""
        count = len(self.terms)
        wider = self.covariance + _COMMON_SD**2 * np.ones((count, count)) + _OWN_SD**2 * np.eye(count)
        return replace(self, covariance=wider, noise=_NOISE_THERE * self.noise, noise_count=_NOISE_COUNT)

    def novelty(self, shares: np.ndarray) -> float:
        """How much of a network's time, by term (n,), lies beyond what measured networks spend: 0 to 1."""
        if not self.shares:
            return 1.0
        low, high = np.array([self.shares[name] for name in self.terms]).T
        return float(max(np.maximum(shares - high, 0).sum(), np.maximum(low - shares, 0).sum()))
