"""How well cheap trainings rank architectures: each recorded way of training beside full training."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import rankdata

from nasdepth.architecture import Architecture
from nasdepth.errors import DataError
from nasdepth.recording import FULL, PROXY, RANDOM_START, Records, TrainingRecord
from nasdepth.recording.training import TRAINED
from nasdepth.score import log2_score

FEWEST = 5
"""Of fewer architectures no correlation is given."""
_RESAMPLED = 2000
_PER_BIN = 10
_MOST_BINS = 5
_TOP = 10


Known = Mapping[Architecture, Sequence[TrainingRecord]]


@dataclass(frozen=True)
class Interval:
    """A figure with the bootstrap's 90 % interval over architectures."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FidelityRank:
    """How one way of training ranks beside full training.

    Attributes:
        fidelity: name of the way of training.
        by: what ranks: "si-RMSE", "loss" (mean training loss of the last epoch), or "si-RMSE, epoch N" where
            it stops early.
        architectures: how many were trained both ways.
        kendall, spearman: of si-RMSE against the si-RMSE of full training.
        within_bins: Kendall's tau of pairs of architectures of like latency only: both in one of `bins` bins.
        bins: of equal count, by latency.
        score_kendall: Kendall's tau of scores, latency included; None where the figure is no si-RMSE.
        top_overlap: share of the `top` best scores by full training that are among the `top` best here.
        cost: seconds as a share of full training's.
    """

    fidelity: str
    by: str
    architectures: int
    kendall: Interval
    spearman: Interval
    within_bins: Interval
    bins: int
    score_kendall: Interval | None
    top_overlap: float | None
    top: int
    cost: float


@dataclass(frozen=True)
class Noise:
    """What another seed changes.

    Attributes:
        pairs: architectures that were trained with two seeds.
        sd: standard deviation of si-RMSE between seeds of one architecture.
        spread: standard deviation of si-RMSE between architectures, noise included.
        within_bins: the same between architectures of like latency.
    """

    fidelity: str
    pairs: int
    sd: float
    spread: float
    within_bins: float


@dataclass(frozen=True)
class Loss:
    """What starting from random weights costs families that have ImageNet weights.

    Attributes:
        family: or "all".
        architectures: trained both ways.
        si_rmse: mean of (random start - ImageNet start).
        worse: how many are worse from random weights.
    """

    family: str
    architectures: int
    si_rmse: Interval
    worse: int


@dataclass(frozen=True)
class Ranking:
    """All that the records say of ways of training.

    Attributes:
        ceiling: Kendall's tau that a proxy without any error but the seeds' could reach, given the noise of
            both; overall, and within bins of latency. NaN where no second seeds were recorded.
    """

    ranks: list[FidelityRank]
    noise: list[Noise]
    ceiling: float
    ceiling_within_bins: float
    random_start: list[Loss]


def rank_fidelities(records: Records, latency_ms: Callable[[Architecture], float]) -> Ranking:
    """Compare every recorded way of training with full training.

    Args:
        records: of which full trainings are what is ranked against; the mean over their seeds counts.
        latency_ms: predicts latencies, for scores and for bins of like latency.

    Raises:
        DataError: fewer than five architectures were trained fully.
    """
    by_way = _by_way(records)
    full = by_way.get(FULL, {})
    if len(full) < FEWEST:
        raise DataError(
            f"the records hold {len(full)} architectures that were trained fully; ranks need at least "
            f"{FEWEST}; go on with `nasdepth record`"
        )
    latencies = {one: latency_ms(one) for many in by_way.values() for one in many}
    ranks = []
    for name, known in by_way.items():
        if name in (FULL, RANDOM_START):
            continue
        both = [one for one in full if one in known]
        if len(both) < FEWEST:
            continue
        for by, figure in _figures(known).items():
            ranks.append(_rank(name, by, both, known, figure, full, latencies))
    noise = [_noise(name, by_way[name], latencies) for name in (PROXY, FULL) if name in by_way]
    return Ranking(
        ranks,
        noise,
        _ceiling(noise, lambda one: one.spread),
        _ceiling(noise, lambda one: one.within_bins),
        _random_start(by_way),
    )


def _by_way(records: Records) -> dict[str, dict[Architecture, list[TrainingRecord]]]:
    found: dict[str, dict[Architecture, list[TrainingRecord]]] = defaultdict(dict)
    for one in sorted(records.trainings, key=lambda one: one.seed):
        if one.outcome == TRAINED:
            found[one.fidelity].setdefault(one.architecture, []).append(one)
    return found


def _figures(known: Known) -> dict[str, Callable[[TrainingRecord], float]]:
    """What a training may be ranked by."""
    epochs = min(len(one.si_rmse) for many in known.values() for one in many)
    figures: dict[str, Callable[[TrainingRecord], float]] = {"si-RMSE": lambda one: one.final}
    # what a search trained says nothing of its losses
    if all(one.loss for many in known.values() for one in many):
        figures["loss"] = lambda one: one.loss[-1]
    for epoch in range(epochs - 1):
        figures[f"si-RMSE, epoch {epoch + 1}"] = partial(_after, epoch)
    return figures


def _after(epoch: int, one: TrainingRecord) -> float:
    return one.si_rmse[epoch]


def _rank(
    name: str,
    by: str,
    both: list[Architecture],
    known: Known,
    figure: Callable[[TrainingRecord], float],
    full: Known,
    latencies: Mapping[Architecture, float],
) -> FidelityRank:
    # a search trains each once
    cheap = np.array([figure(known[one][0]) for one in both])
    true = np.array([np.mean([training.final for training in full[one]]) for one in both])
    latency_ms = np.array([latencies[one] for one in both])
    bins = _bins(latency_ms)
    share = np.array([_share(by, known[one][0], full[one][0]) for one in both])
    score_kendall = top_overlap = None
    top = min(_TOP, len(both) // 3)
    if by.startswith("si-RMSE"):
        scores = [
            np.array([log2_score(si_rmse, ms) for si_rmse, ms in zip(row, latency_ms, strict=True)])
            for row in (cheap, true)
        ]
        score_kendall = _tau(*scores)
        best = [set(np.argsort(-row)[:top].tolist()) for row in scores]
        top_overlap = len(best[0] & best[1]) / top if top else None
    return FidelityRank(
        name,
        by,
        len(both),
        _tau(cheap, true),
        _spearman(cheap, true),
        _tau(cheap, true, bins),
        int(bins.max()) + 1,
        score_kendall,
        top_overlap,
        top,
        float(share.mean()),
    )


def _share(by: str, cheap: TrainingRecord, full: TrainingRecord) -> float:
    epochs = int(by.rsplit(" ", 1)[1]) if "epoch" in by else len(cheap.seconds)
    return sum(cheap.seconds[:epochs]) / sum(full.seconds)


def _bins(latency_ms: np.ndarray) -> np.ndarray:
    """A bin for each, of equal counts, fastest first."""
    count = min(max(len(latency_ms) // _PER_BIN, 1), _MOST_BINS)
    places = np.argsort(np.argsort(latency_ms, kind="stable"))
    return places * count // len(latency_ms)


def pooled_tau(first: np.ndarray, second: np.ndarray, bins: np.ndarray | None = None) -> float:
    """Kendall's tau over all pairs that lie in one bin: (concordant - discordant) / (pairs without a tie).

    Args:
        first, second: (architectures,) two figures.
        bins: (architectures,) of each; None for one bin of all.

    Returns:
        From -1 to 1; NaN if no two architectures share a bin.
    """
    return float(_taus(first, second, bins, np.ones((1, len(first))))[0])


def _taus(first: np.ndarray, second: np.ndarray, bins: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
    """`pooled_tau` of many samples; counts are (samples, architectures): how often each is in each."""
    signs = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
    if bins is not None:
        signs = signs * (bins[:, None] == bins)
    agreed = (counts @ signs * counts).sum(axis=1)
    counted = (counts @ np.abs(signs) * counts).sum(axis=1)
    return np.divide(agreed, counted, out=np.full(len(counts), np.nan), where=counted > 0)


def _spearmans(first: np.ndarray, second: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Spearman's correlation of many samples, given the places of their architectures."""
    ranks = [rankdata(values[drawn], axis=1) for values in (first, second)]
    one, other = (row - row.mean(axis=1, keepdims=True) for row in ranks)
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.divide((one * other).sum(axis=1), size, out=np.full(len(drawn), np.nan), where=size > 0)


def _drawn(count: int) -> np.ndarray:
    """Places of architectures that are drawn with replacement: (samples, architectures)."""
    return np.random.default_rng(0).integers(count, size=(_RESAMPLED, count))


def _interval(value: float, samples: np.ndarray) -> Interval:
    known = samples[np.isfinite(samples)]
    low, high = np.quantile(known, (0.05, 0.95)) if len(known) else (math.nan, math.nan)
    return Interval(value, float(low), float(high))


def _tau(first: np.ndarray, second: np.ndarray, bins: np.ndarray | None = None) -> Interval:
    drawn = _drawn(len(first))
    counts = np.array([np.bincount(row, minlength=len(first)) for row in drawn], dtype=float)
    return _interval(pooled_tau(first, second, bins), _taus(first, second, bins, counts))


def _spearman(first: np.ndarray, second: np.ndarray) -> Interval:
    whole = np.arange(len(first))[None]
    return _interval(
        float(_spearmans(first, second, whole)[0]), _spearmans(first, second, _drawn(len(first)))
    )


def _noise(name: str, known: Known, latencies: Mapping[Architecture, float]) -> Noise:
    twice = [[one.final for one in many] for many in known.values() if len(many) > 1]
    variances = [np.var(finals, ddof=1) for finals in twice]
    finals = np.array([many[0].final for many in known.values()])
    bins = _bins(np.array([latencies[one] for one in known]))
    centred = np.concatenate(
        [finals[bins == one] - finals[bins == one].mean() for one in range(bins.max() + 1)]
    )
    freedom = max(len(finals) - bins.max() - 1, 1)
    return Noise(
        name,
        len(twice),
        float(np.sqrt(np.mean(variances))) if variances else math.nan,
        float(finals.std(ddof=1)) if len(finals) > 1 else math.nan,
        float(np.sqrt((centred**2).sum() / freedom)),
    )


def _ceiling(noise: Sequence[Noise], spread: Callable[[Noise], float]) -> float:
    """Kendall's tau of two noisy sights of one ranking, all being normal: 2/pi asin of their correlation."""
    reliability = [max(1 - one.sd**2 / spread(one) ** 2, 0.0) for one in noise]
    if len(reliability) < 2 or not all(map(math.isfinite, reliability)):
        return math.nan
    return 2 / math.pi * math.asin(math.sqrt(math.prod(reliability)))


def _random_start(by_way: Mapping[str, Known]) -> list[Loss]:
    started = by_way.get(PROXY, {})
    pairs: dict[str, list[float]] = defaultdict(list)
    for one, many in by_way.get(RANDOM_START, {}).items():
        if one in started and started[one][0].pretrained:
            loss = many[0].final - started[one][0].final
            pairs["all"].append(loss)
            pairs[one.encoder.family].append(loss)
    losses = []
    for family, values in pairs.items():
        row = np.array(values)
        interval = _interval(float(row.mean()), row[_drawn(len(row))].mean(axis=1))
        losses.append(Loss(family, len(row), interval, int((row > 0).sum())))
    return losses
