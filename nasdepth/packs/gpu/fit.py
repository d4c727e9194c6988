"""From published operations and networks to a GPU pack."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from nasdepth.errors import TableError
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.predict.card import with_five_digits
from nasdepth.packs.gpu.card import FormFit, GpuPack, GpuPackCard
from nasdepth.packs.gpu.delegate import Delegate, load_delegate
from nasdepth.packs.gpu.network_time import NetworkModel, Sums, adapted, add_up, fit_network, from_card
from nasdepth.packs.gpu.operation_times import DIMENSIONS, OperationModel, as_run, dimensions, form_of
from nasdepth.packs.gpu.published_families import family_of
from nasdepth.packs.gpu.terms import FORMS, winograd_work
from nasdepth.packs.published_operations import PublishedModel
from nasdepth.packs.source import Source

_FOLDS = 5
_ROUNDS = 5
# Relative errors below this are as good as none
_SMALL = 0.05
# Fewer operations than this say too little about a form of several terms
_FEWEST = 8
_PRIOR_SD = 0.5
_LEAST_SD = 0.03
# An error counts as no more than this (as a logarithm), so that one driver's mishap does not set the width
_WORST = 0.7
# Winograd's transforms and the multiplication between them are launched one by one
_WINOGRAD_LAUNCHES = 3


@dataclass(frozen=True, slots=True)
class Timed:
    """A published operation on one device.

    Attributes:
        model: whose.
        kernel: as the delegate runs it.
        latency_ms: profiled.
        name: the delegate's, without numbers and links.
    """

    model: str
    kernel: Kernel
    latency_ms: float
    name: str


def timed_operations(models: Mapping[str, PublishedModel], device: str) -> list[Timed]:
    """All operations that have a time on a device."""
    return [
        Timed(model.name, one.kernel, one.latencies_ms[device], one.names[device])
        for model in models.values()
        for one in model.operations
        if one.latencies_ms and one.names and device in one.latencies_ms
    ]


def fit_operations(operations: Sequence[Timed], delegate: Delegate) -> OperationModel:
    """Fit every form to the operations that run as it, in relative error.

    Raises:
        TableError: too few convolutions or concatenations for the forms that priors of others are made of.
    """
    by_form: dict[str, list[Timed]] = {name: [] for name in FORMS}
    for one in operations:
        by_form[form_of(as_run(one.kernel), delegate)].append(one)
    for needed in ("generic", "concat", "fully_connected"):
        if len(by_form[needed]) < _FEWEST:
            raise TableError(
                f"{len(by_form[needed])} operations run as {needed}; {_FEWEST} are needed; give more"
            )
    forms = {"moving": _moving_prior(by_form["concat"], delegate)}
    for name, members in by_form.items():
        if len(members) >= _FEWEST and name not in ("moving", "winograd"):
            forms[name] = _fit_form(name, members, delegate)
    for name, like in (("constants", "generic"), ("grouped", "generic"), ("depthwise_3x3", "depthwise"),
                       ("depthwise", "depthwise_3x3"), ("mean", "pool"), ("pool", "mean")):  # fmt: skip
        if name not in forms and like in forms:
            forms[name] = _as_prior(forms[like])
    if missing := [name for name in FORMS if name not in forms and name != "winograd"]:
        raise TableError(f"no operations run as {missing[0]}; give a file with some")
    forms["winograd"] = _winograd(by_form["winograd"], forms, delegate)
    return OperationModel(delegate, {name: forms[name] for name in FORMS})


def fit_pack(
    name: str,
    models: Mapping[str, PublishedModel],
    latencies_ms: Mapping[str, Mapping[str, float]],
    device: str,
    family: str,
    setting: Mapping[str, str | int],
    sources: Sequence[Source],
) -> GpuPack:
    """A pack from operations and whole networks of one device; its errors on what it had not seen are left to
    `nasdepth.packs.gpu.validation`.

    Args:
        name: of the pack.
        models: their operations.
        latencies_ms: {model: {device: ms}} of whole networks.
        device: the column.
        family: of the GPU.
        setting: fields of the card.
        sources: of the figures.

    Raises:
        TableError: too few operations or networks have a time on the device.
    """
    operations, network = fit_both(models, latencies_ms, device, load_delegate(family))
    card = GpuPackCard(
        **setting,
        date=datetime.date.today(),
        family=family,
        sources=tuple(sources),
        forms=operations.forms,
        network=network.to_card(),
    )
    return GpuPack(name, card)


def adapt(
    name: str,
    pack: GpuPack,
    networks: Sequence[tuple[Sequence[Kernel], float]],
    setting: Mapping[str, str | int],
    sources: Sequence[Source] = (),
) -> GpuPack:
    """A pack for another board or version from a few networks measured there; kernels stay as they are.

    Args:
        name: of the new pack.
        pack: of a GPU of the same family.
        networks: (kernels, ms).
        setting: fields of the card that differ.
        sources: of the networks' times.

    Raises:
        TableError: no network.
    """
    operations = OperationModel(load_delegate(pack.card.family), pack.card.forms)
    sums = [sums_of(kernels, operations) for kernels, _ in networks]
    try:
        network = adapted(from_card(pack.card.network), sums, [latency_ms for _, latency_ms in networks])
    except ValueError as error:
        raise TableError(f"pack {name}: {error}") from None
    changes = {
        **setting,
        "date": datetime.date.today(),
        "sources": (*sources, *pack.card.sources),
        "network": network.to_card(),
        "operations": None,
    }
    return GpuPack(name, GpuPackCard(**(dict(pack.card) | changes)))


def fit_both(
    models: Mapping[str, PublishedModel],
    latencies_ms: Mapping[str, Mapping[str, float]],
    device: str,
    delegate: Delegate,
) -> tuple[OperationModel, NetworkModel]:
    """Operations and the step to networks, as `fit_pack`."""
    timed = timed_operations(models, device)
    if not timed:
        raise TableError(f"no operation has a time on {device!r}; give the name of a column without _us")
    operations = fit_operations(timed, delegate)
    measured = [name for name in models if device in latencies_ms.get(name, {})]
    try:
        network = fit_network(
            [sums_of(models[name].gpu_kernels, operations) for name in measured],
            [latencies_ms[name][device] for name in measured],
            [family_of(name) for name in measured],
        )
    except ValueError as error:
        raise TableError(f"{device}: {error}; give a file with more") from None
    return operations, network


def sums_of(kernels: Sequence[Kernel], operations: OperationModel) -> Sums:
    """A network as a profiler would show it."""
    answers = operations.answer(kernels)
    return add_up(answers.forms, answers.latency_ms, answers.latency_ms * answers.relative_sd, answers.known)


def _fit_form(name: str, members: Sequence[Timed], delegate: Delegate) -> FormFit:
    kernels = [as_run(one.kernel) for one in members]
    times = np.array([one.latency_ms for one in members])
    terms = FORMS[name].fitted or tuple(FORMS[name].terms)
    amounts = FORMS[name].amounts(kernels, delegate, terms)
    solution = _solve(amounts, times)
    errors = []
    models = sorted({one.model for one in members})
    order = np.random.default_rng(0).permutation(len(models))
    fold_of = {models[place]: index % _FOLDS for index, place in enumerate(order)}
    folds = np.array([fold_of[one.model] for one in members])
    for fold in set(folds.tolist()) if len(models) > 1 else ():
        kept, held = folds != fold, folds == fold
        guess = amounts[held] @ _solve(amounts[kept], times[kept])
        errors.append(np.log(np.maximum(guess, 1e-9) / times[held]))
    return FormFit(
        operations=len(members),
        relative_sd=_spread(np.concatenate(errors)) if errors else _PRIOR_SD,
        sizes=_ranges(kernels),
        ms={term: with_five_digits(value) for term, value in zip(terms, solution, strict=True) if value > 0},
    )


def _solve(amounts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(terms,) coefficients, none negative, with the least sum of relative errors, small ones counting less.

    Squares would follow the few sizes for which a driver picks a bad work group.
    """
    rows = amounts / times[:, None]
    norm = np.maximum(rows.max(0), 1e-30)
    rows /= norm
    weights = np.ones(len(times))
    for _ in range(_ROUNDS):
        # the triangle of a QR decomposition has the same least squares and a hundredth of the rows
        both = np.column_stack([rows, np.ones(len(times))]) * weights[:, None]
        triangle = np.linalg.qr(both, mode="r")
        solution = nnls(triangle[:, :-1], triangle[:, -1], maxiter=10_000)[0]
        weights = np.maximum(np.abs(rows @ solution - 1), _SMALL) ** -0.5
    return solution / norm


def _moving_prior(concats: Sequence[Timed], delegate: Delegate) -> FormFit:
    """What launching and moving cost on this GPU, from concatenations, which do nothing else."""
    form = FORMS["concat"]
    kernels = [one.kernel for one in concats]
    times = np.array([one.latency_ms for one in concats])
    launch, inputs, outputs = form.amounts(kernels, delegate, ("launch", "inputs", "outputs")).T
    start_ms, element_ms = _solve(np.column_stack([launch, inputs + outputs]), times)
    ms = {"launch": start_ms, "inputs": element_ms, "outputs": element_ms, "added": element_ms}
    return FormFit(
        operations=0,
        relative_sd=_PRIOR_SD,
        ms={term: with_five_digits(value) for term, value in ms.items() if value > 0},
    )


def _as_prior(like: FormFit) -> FormFit:
    return like.model_copy(update={"operations": 0, "relative_sd": _PRIOR_SD, "sizes": {}})


def _winograd(members: Sequence[Timed], forms: Mapping[str, FormFit], delegate: Delegate) -> FormFit:
    """36 points of every tile multiplied as a 1x1 convolution would, between two transforms.

    The multiplication takes the terms of the generic convolution and the transforms what moving costs, each
    by a factor that the operations show. Without operations the generic convolution answers.
    """
    if len(members) < _FEWEST:
        return _as_prior(forms["generic"])
    generic = {term: ms for term, ms in forms["generic"].ms.items() if "windowed" not in term}
    generic.pop("launch", None)
    moving = forms["moving"].ms
    parts: tuple[dict[str, float], ...] = (
        {"launch": _WINOGRAD_LAUNCHES * moving.get("launch", 1e-3)},
        generic,
        {term: moving[term] for term in ("inputs", "outputs") if term in moving},
    )
    kernels = [one.kernel for one in members]
    times = np.array([one.latency_ms for one in members])
    work = winograd_work(kernels, delegate)
    terms = FORMS["winograd"].terms
    amounts = np.column_stack([sum(terms[term](work) * ms for term, ms in part.items()) for part in parts])
    factors = _solve(amounts, times)
    total: dict[str, float] = {}
    for factor, part in zip(factors, parts, strict=True):
        for term, ms in part.items():
            total[term] = total.get(term, 0.0) + float(factor) * ms
    return FormFit(
        operations=len(members),
        relative_sd=_spread(np.log(amounts @ factors / times)),
        sizes=_ranges(kernels),
        ms={term: with_five_digits(ms) for term, ms in total.items() if ms > 0},
    )


def _spread(logs: np.ndarray) -> float:
    return with_five_digits(max(float(np.sqrt(np.mean(np.clip(logs, -_WORST, _WORST) ** 2))), _LEAST_SD))


def _ranges(kernels: Sequence[Kernel]) -> dict[str, tuple[float, float]]:
    sizes = dimensions(kernels)
    return {
        name: (float(low), float(high))
        for name, low, high in zip(DIMENSIONS, sizes.min(0), sizes.max(0), strict=True)
    }
