"""From anchors and a prior to a device pack, with its errors on what it had not seen."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nasdepth.errors import TableError
from nasdepth.latency.accuracy import (
    SD_OF_INTERVAL_90,
    CrossValidation,
    Guess,
    family_errors,
    nine_in_ten,
    summarise,
)
from nasdepth.latency.predict.card import SETTING
from nasdepth.latency.predict.predictor import DELEGATES, runtime_of
from nasdepth.packs.anchors import Anchor
from nasdepth.packs.physical.card import Fit, Pack, PackCard
from nasdepth.packs.physical.coefficients import Belief
from nasdepth.packs.physical.fit import Observations, Prediction, fit, predict
from nasdepth.packs.physical.prior import Prior
from nasdepth.packs.source import Source

FOLDS = 10
# Fewer networks than this say nothing about how wide an interval has to be; then the prior's scale stands
_ENOUGH = 15
_FEWEST_CHECKED = 3
_SD_FACTORS = (0.6, 3.0)
_MOST_NOVELTY_SD = 2.0
# A network that lies less beyond the others tells nothing of those that lie far beyond
_LEAST_NOVELTY = 0.05
_FIELDS = ("device", "os", *SETTING)
_INTEGERS = ("cores", "threads", "os_bits")


@dataclass(frozen=True)
class Seen:
    """Anchors of one precision as a fit sees them."""

    anchors: tuple[Anchor, ...]
    observations: Observations

    @classmethod
    def of(cls, anchors: Sequence[Anchor], belief: Belief, runtime: str) -> Seen:
        observations = Observations.of(
            [one.kernels for one in anchors],
            [one.latency_ms for one in anchors],
            belief,
            runtime,
            [one.setting_sd for one in anchors],
        )
        return cls(tuple(anchors), observations)

    def chosen(self, indices: Sequence[int]) -> Seen:
        return Seen(tuple(self.anchors[index] for index in indices), self.observations.chosen(indices))


def calibrated(seen: Seen, prior: Belief, near: Belief | None = None) -> Belief:
    """The fit, its intervals scaled so that they hold nine in ten networks that were left out.

    Within the anchors' families by `sd_factor`, from ten folds; beyond them by `novelty_sd`, from those
    networks of left-out families that spend their time otherwise than all others. With fewer than 15 networks
    the prior's scales stand. `near` is where the search begins, see `fit`.
    """
    belief = fit(seen.observations, prior, near)
    if len(seen.anchors) < _ENOUGH:
        return belief
    tested = _residuals(seen, prior, folds(seen.anchors), belief)
    needed = nine_in_ten([abs(error) / one.inner_sd for error, one in tested]) / SD_OF_INTERVAL_90
    factor = float(np.clip(needed, *_SD_FACTORS))
    beyond = []
    for error, one in _residuals(seen, prior, by_family(seen.anchors), belief):
        if one.novelty >= _LEAST_NOVELTY:
            needed = (error / (SD_OF_INTERVAL_90 * factor)) ** 2 - one.inner_sd**2
            beyond.append(max(needed, 0.0) ** 0.5 / one.novelty)
    if len(beyond) >= _ENOUGH:
        belief = replace(belief, novelty_sd=min(nine_in_ten(beyond), _MOST_NOVELTY_SD))
    return replace(belief, sd_factor=factor)


def left_out(seen: Seen, prior: Belief, parts: Sequence[Sequence[int]]) -> list[Guess]:
    """Every part predicted by `calibrated` on the others."""
    answers = []
    near = fit(seen.observations, prior)
    for part, kept in _splits(seen, parts):
        belief = calibrated(seen.chosen(kept), prior, near)
        answers += guesses_of(seen.chosen(part), belief)
    return answers


def guesses_of(seen: Seen, belief: Belief) -> list[Guess]:
    """What a belief says of anchors."""
    answers = []
    for anchor, guess in zip(seen.anchors, predict(seen.observations, belief), strict=True):
        # errors of coefficients multiply: the interval is even on a logarithmic scale
        spread = math.exp(SD_OF_INTERVAL_90 * guess.relative_sd(belief))
        interval = (guess.latency_ms / spread, guess.latency_ms * spread)
        answers.append(Guess(anchor.name, guess.latency_ms, interval, anchor.latency_ms, anchor.family))
    return answers


def folds(anchors: Sequence[Anchor], count: int = FOLDS, seed: int = 0) -> list[list[int]]:
    """Indices of anchors, dealt at random; those of a group stay together."""
    groups = sorted({one.group for one in anchors})
    order = np.random.default_rng(seed).permutation(len(groups))
    dealt = {groups[place]: index % count for index, place in enumerate(order)}
    parts: list[list[int]] = [[] for _ in range(min(count, len(groups)))]
    for index, one in enumerate(anchors):
        parts[dealt[one.group]].append(index)
    return parts


def by_family(anchors: Sequence[Anchor]) -> list[list[int]]:
    """Indices of anchors by family; none where there is one family only."""
    names = sorted({one.family for one in anchors})
    return [[i for i, one in enumerate(anchors) if one.family == name] for name in names if len(names) > 1]


def cross_validation(seen: Seen, prior: Belief, date: datetime.date) -> CrossValidation | None:
    """Ten folds, and every family left out; None for fewer than 3 networks."""
    if len(seen.anchors) < _FEWEST_CHECKED:
        return None
    return CrossValidation(
        folds=summarise(left_out(seen, prior, folds(seen.anchors)), date),
        families=family_errors(left_out(seen, prior, by_family(seen.anchors)), date),
    )


def calibrate_pack(
    name: str,
    anchors: Sequence[Anchor],
    prior: Prior | Pack,
    *,
    setting: Mapping[str, str | int] | None = None,
    sources: Sequence[Source] = (),
    latency: str = "median",
    inferred: Sequence[str] = (),
) -> Pack:
    """Fit a pack to measured networks.

    Args:
        name: of the pack.
        anchors: measured; those of each precision are fitted by themselves.
        prior: what is believed without them. A pack, as a prior, is loosened by a common factor and less so
            in every term, as another board or version of the runtime differs. Precisions of a pack that no
            anchor has are moved by the common factor of the others.
        setting: fields of the card; the prior's where it does not say.
        sources: of the anchors.
        latency: what the anchors' times are.
        inferred: fields of the card that no source states, see `PackCard`.

    Raises:
        TableError: the prior has no coefficients for an anchor's precision, or the card lacks a field.
    """
    date = datetime.date.today()
    before = {} if isinstance(prior, Prior) else dict(prior.card.precisions)
    fits: dict[str, Fit] = {}
    for precision in sorted({one.precision for one in anchors}):
        chosen = [one for one in anchors if one.precision == precision]
        start = _start(prior, precision, name)
        fields = setting_of(prior, setting)
        seen = Seen.of(chosen, start, runtime_of(str(fields["delegate"])))
        belief = calibrated(seen, start)
        earlier = before.get(precision)
        fits[precision] = Fit.of(
            belief,
            start,
            len(chosen) + (earlier.networks if earlier else 0),
            validation=cross_validation(seen, start, date),
        )
    for precision, fit_before in before.items():
        if precision not in fits:
            fits[precision] = _moved(fit_before, before, fits)
    given = tuple(sources) + (() if isinstance(prior, Prior) else prior.card.sources)
    if unknown := [name for name in inferred if name not in _FIELDS]:
        raise TableError(f"{unknown[0]!r} is no field of a device card; they are {', '.join(_FIELDS)}")
    card = PackCard(**setting_of(prior, setting), date=date, prior=prior.name, latency=latency,
                    sources=given, inferred=tuple(inferred), precisions=fits)  # fmt: skip
    return Pack(name, card)


def _start(prior: Prior | Pack, precision: str, name: str) -> Belief:
    precisions = prior.precisions if isinstance(prior, Prior) else prior.card.precisions
    if precision not in precisions:
        raise TableError(
            f"pack {name}: anchors are {precision}; the prior {prior.name} knows {', '.join(precisions)} only"
        )
    belief = precisions[precision].belief()
    return belief if isinstance(prior, Prior) else belief.loosened()


def setting_of(prior: Prior | Pack, given: Mapping[str, str | int] | None) -> dict[str, str | int]:
    """The device fields of a pack's card: the prior's, where it does not say.

    Raises:
        TableError: a field is missing or is none of a card's; the message names it.
    """
    given = dict(given or {})
    if unknown := [name for name in given if name not in _FIELDS]:
        raise TableError(f"{unknown[0]!r} is no field of a device card; they are {', '.join(_FIELDS)}")
    known = prior.setting if isinstance(prior, Prior) else prior.card.model_dump()
    fields = {name: known[name] for name in _FIELDS if name in known} | given
    for name in _INTEGERS:
        if name in fields and not str(fields[name]).isdigit():
            raise TableError(f"the card's field {name} is {fields[name]!r}; it must be an integer")
        if name in fields:
            fields[name] = int(fields[name])
    if missing := [name for name in _FIELDS if name not in (*fields, "pinned", "gpu")]:
        raise TableError(
            f"the card's field {missing[0]} is not known; give it by `setting`, such as {missing[0]}=..."
        )
    if fields["delegate"] not in DELEGATES:
        raise TableError(f"delegate is {fields['delegate']!r}; it must be one of {', '.join(DELEGATES)}")
    return fields


def _moved(old: Fit, before: Mapping[str, Fit], fits: Mapping[str, Fit]) -> Fit:
    """A precision without anchors, faster or slower as those with anchors have become."""
    shifts = [
        np.log(after.terms[name].ms / before[precision].terms[name].ms)
        for precision, after in fits.items()
        if precision in before
        for name in after.terms
        if after.terms[name].anchored
    ]
    belief = old.belief()
    loosened = belief.loosened()
    moved = replace(
        belief, mean=belief.mean + (np.mean(shifts) if shifts else 0.0), covariance=loosened.covariance
    )
    return Fit.of(moved, belief, old.networks)


def _residuals(
    seen: Seen, prior: Belief, parts: Sequence[Sequence[int]], near: Belief
) -> list[tuple[float, Prediction]]:
    answers = []
    for part, kept in _splits(seen, parts):
        belief = fit(seen.observations.chosen(kept), prior, near)
        tested = seen.observations.chosen(part)
        for guess, measured_ms in zip(predict(tested, belief), tested.latency_ms, strict=True):
            answers.append((float(np.log(guess.latency_ms / measured_ms)), guess))
    return answers


def _splits(seen: Seen, parts: Sequence[Sequence[int]]) -> Iterator[tuple[Sequence[int], list[int]]]:
    for part in parts:
        out = set(part)
        yield part, [index for index in range(len(seen.anchors)) if index not in out]
