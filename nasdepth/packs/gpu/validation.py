"""How far a GPU pack is off on models that it was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.latency.accuracy import (
    CrossValidation,
    Guess,
    family_errors,
    interval_90,
    percent_of,
    summarise,
)
from nasdepth.packs.gpu.card import Agreement, GpuPack
from nasdepth.packs.gpu.delegate import Delegate, load_delegate
from nasdepth.packs.gpu.fit import fit_both, sums_of, timed_operations
from nasdepth.packs.gpu.network_time import NetworkModel, from_card
from nasdepth.packs.gpu.operation_times import OperationModel
from nasdepth.packs.gpu.published_families import family_of, names_by_family
from nasdepth.packs.published_operations import PublishedModel

FOLDS = 10


@dataclass(frozen=True)
class Held:
    """Outcome on models that a fit had not seen.

    Attributes:
        networks: whole ones.
        ratios: (n,) float64; predicted over profiled time of single operations.
        agreed: (m,) bool; whether the rules name the kernels of convolutions as the profiler did.
    """

    networks: tuple[Guess, ...]
    ratios: np.ndarray
    agreed: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Held]) -> Held:
        return cls(
            tuple(one for part in parts for one in part.networks),
            np.concatenate([part.ratios for part in parts]),
            np.concatenate([part.agreed for part in parts]),
        )

    def agreement(self) -> Agreement:
        """As a card has it."""
        errors = np.abs(self.ratios - 1)
        return Agreement(
            operations=len(errors),
            within_10_percent=percent_of(errors <= 0.1),
            within_20_percent=percent_of(errors <= 0.2),
            kernel_choice_percent=percent_of(self.agreed),
        )


def check(
    models: Mapping[str, PublishedModel],
    latencies_ms: Mapping[str, Mapping[str, float]],
    device: str,
    operations: OperationModel,
    network: NetworkModel,
) -> Held:
    """A fit against models."""
    timed = timed_operations(models, device)
    guesses = []
    for name, model in models.items():
        if device not in latencies_ms.get(name, {}):
            continue
        latency_ms, sd_ms = network.predict(sums_of(model.gpu_kernels, operations))
        interval, measured_ms = interval_90(latency_ms, sd_ms), latencies_ms[name][device]
        guesses.append(Guess(name, latency_ms, interval, measured_ms, family_of(name)))
    answers = operations.answer([one.kernel for one in timed])
    return Held(
        tuple(guesses),
        answers.latency_ms / np.array([one.latency_ms for one in timed]),
        np.array(_agreements(models, device, operations.delegate), bool),
    )


def check_pack(
    pack: GpuPack,
    models: Mapping[str, PublishedModel],
    latencies_ms: Mapping[str, Mapping[str, float]],
    device: str,
) -> Held:
    """A pack as it stands, against models; honest where it was not fitted to them."""
    operations = OperationModel(load_delegate(pack.card.family), pack.card.forms)
    return check(models, latencies_ms, device, operations, from_card(pack.card.network))


def left_out(
    models: Mapping[str, PublishedModel],
    latencies_ms: Mapping[str, Mapping[str, float]],
    device: str,
    delegate: Delegate,
    parts: Sequence[Sequence[str]],
) -> list[Held]:
    """Every part of the models against a fit to the others, operations and networks alike."""
    outcomes = []
    for part in parts:
        rest = {name: model for name, model in models.items() if name not in part}
        fitted = fit_both(rest, latencies_ms, device, delegate)
        outcomes.append(check({name: models[name] for name in part}, latencies_ms, device, *fitted))
    return outcomes


def folds(names: Sequence[str], count: int = FOLDS, seed: int = 0) -> list[list[str]]:
    """Names dealt at random."""
    order = np.random.default_rng(seed).permutation(sorted(names))
    return [order[index::count].tolist() for index in range(min(count, len(order)))]


def validated(
    pack: GpuPack,
    models: Mapping[str, PublishedModel],
    latencies_ms: Mapping[str, Mapping[str, float]],
    device: str,
) -> GpuPack:
    """The pack with what ten folds, and leaving out families, say of its fit."""
    delegate = load_delegate(pack.card.family)
    names = list(models)
    held = Held.joined(left_out(models, latencies_ms, device, delegate, folds(names)))
    by_family = left_out(models, latencies_ms, device, delegate, list(names_by_family(names).values()))
    date = pack.card.date
    checked = CrossValidation(
        folds=summarise(held.networks, date),
        families=family_errors([one for part in by_family for one in part.networks], date),
    )
    network = pack.card.network.model_copy(update={"validation": checked})
    card = pack.card.model_copy(update={"network": network, "operations": held.agreement()})
    return GpuPack(pack.name, card)


def _agreements(models: Mapping[str, PublishedModel], device: str, delegate: Delegate) -> list[bool]:
    agreed = []
    for one in timed_operations(models, device):
        try:
            agreed.append(delegate.published_name(one.kernel) == one.name)
        except KeyError:
            continue
    return agreed
