"""`GpuPredictor`: latencies from a GPU pack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import load_rules
from nasdepth.latency.accuracy import interval_90
from nasdepth.latency.predict.kinds import register_predictor
from nasdepth.latency.predict.predictor import LatencyEstimate, Predictor, Source, runtime_of
from nasdepth.packs.gpu.card import MODEL, GpuPack, GpuPackCard
from nasdepth.packs.gpu.delegate import load_delegate
from nasdepth.packs.gpu.network_time import Sums, add_up, from_card
from nasdepth.packs.gpu.operation_times import OperationModel


@dataclass(frozen=True, slots=True)
class _Part:
    """A kernel before the step to networks."""

    form: str
    latency_ms: float
    sd_ms: float
    known: bool


@register_predictor(MODEL, card=GpuPackCard)
class GpuPredictor(Predictor):
    """The delegate's kernels by its rules, their times by the pack's forms, and the step from their sum to a
    network.

    A kernel is `interpolated` where its form was fitted to published operations of about its size, `unknown`
    where a physical prior answers; nothing is `measured`.

    Attributes:
        table: the pack.
        runtime: whose fusion and partition rules apply.
    """

    table: GpuPack

    def __init__(self, pack: GpuPack) -> None:
        self.table = pack
        self.runtime = runtime_of(pack.card.delegate)
        self._operations = OperationModel(load_delegate(pack.card.family), pack.card.forms)
        self._network = from_card(pack.card.network)
        self._rules = load_rules(self.runtime)
        self._parts: dict[Kernel, _Part] = {}

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        total_ms, sd_ms = self._network.predict(self.sums(kernels))
        parts = [self._parts[kernel] for kernel in kernels]
        factors = self._network.factors
        shares: dict[Source, float] = defaultdict(float)
        answers = []
        for kernel, part in zip(kernels, parts, strict=True):
            source: Source = "interpolated" if part.known else "unknown"
            latency_ms = part.latency_ms * factors.of(part.form) + self._network.kernel_ms
            shares[source] += latency_ms
            answers.append((kernel, latency_ms, source))
        kernels_ms = sum(shares.values())
        return LatencyEstimate(
            latency_ms=total_ms,
            sd_ms=sd_ms,
            interval_90=interval_90(total_ms, sd_ms),
            measured_share=0.0 if kernels_ms else 1.0,
            interpolated_share=shares["interpolated"] / kernels_ms if kernels_ms else 0.0,
            unknown_share=shares["unknown"] / kernels_ms if kernels_ms else 0.0,
            kernels=tuple(answers),
        )

    def estimate_all(self, networks: Iterable[Sequence[Kernel]]) -> list[LatencyEstimate]:
        networks = list(networks)
        self._answer({kernel: None for kernels in networks for kernel in kernels})
        return [self.estimate(kernels) for kernels in networks]

    def sums(self, kernels: Sequence[Kernel]) -> Sums:
        """The uncalibrated sums that the step to networks is fitted to."""
        self._answer(kernels)
        parts = [self._parts[kernel] for kernel in kernels]
        return add_up(
            [one.form for one in parts],
            [one.latency_ms for one in parts],
            [one.sd_ms for one in parts],
            [one.known for one in parts],
        )

    def _answer(self, kernels: Iterable[Kernel]) -> None:
        missing = [kernel for kernel in dict.fromkeys(kernels) if kernel not in self._parts]
        for kernel in missing:
            if not self._rules.delegates(kernel):
                raise UnknownKernelError(
                    f"{kernel}: the GPU delegate does not run {kernel.op} ({kernel.precision}), and pack "
                    f"{self.table.name} knows no other; convert the model without it"
                )
        if not missing:
            return
        answers = self._operations.answer(missing)
        for kernel, form, latency_ms, sd, known in zip(
            missing, answers.forms, answers.latency_ms, answers.relative_sd, answers.known, strict=True
        ):
            self._parts[kernel] = _Part(form, float(latency_ms), float(latency_ms * sd), bool(known))
