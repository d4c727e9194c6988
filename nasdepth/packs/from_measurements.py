"""From a file of measurements and the name of a prior to a pack, whatever kind of device it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nasdepth.errors import NasdepthError, TableError
from nasdepth.latency.predict import CardFile, load_table, runtime_of
from nasdepth.latency.predict.card import read_card
from nasdepth.packs.anchors import Anchor, read_anchors
from nasdepth.packs.gpu import GpuPack, GpuPackCard, GpuPrior, gpu_priors, read_gpu_prior
from nasdepth.packs.gpu.calibrate import adapt_gpu, calibrate_gpu
from nasdepth.packs.kernel_lists import has_kernel_lists, read_kernel_lists
from nasdepth.packs.physical.calibrate import calibrate_pack, setting_of
from nasdepth.packs.physical.card import Pack, PackCard
from nasdepth.packs.physical.prior import Prior, prior_names, read_prior
from nasdepth.packs.published_operations import read_models
from nasdepth.packs.source import Source


@dataclass(frozen=True)
class AnchorFile:
    """Where anchors are; see `nasdepth.packs.read_anchors`.

    Attributes:
        operations: CSV of the models operator by operator, see `nasdepth.packs.published_operations`, or
            kernel by kernel, see `nasdepth.packs.kernel_lists`.
        precision: of rows that do not say it.
    """

    path: Path
    latency_column: str = "latency_ms"
    size_column: str | None = None
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    operations: Path | None = None
    precision: str = "float32"

    def read(self, runtime: str) -> list[Anchor]:
        """The anchors, with the kernels that a runtime runs."""
        lists = self.operations is not None and has_kernel_lists(self.operations)
        return read_anchors(
            self.path,
            runtime,
            latency_column=self.latency_column,
            size_column=self.size_column,
            where=self.where,
            published=read_models(self.operations) if self.operations and not lists else None,
            listed=read_kernel_lists(self.operations) if self.operations and lists else None,
            precision=self.precision,
        )


def make_pack(
    name: str,
    anchors: AnchorFile,
    prior: str,
    *,
    setting: Mapping[str, str] | None = None,
    sources: Sequence[Source] = (),
    inferred: Sequence[str] = (),
) -> Pack | GpuPack:
    """Fit a pack, or adapt one.

    Args:
        name: of the pack.
        anchors: measured networks.
        prior: name of a prior, file of one, or name or file of a pack to adapt.
        setting: fields of the card that differ from the prior's.
        sources: of the measurements.
        inferred: fields of a CPU pack's card that no source states, see `PackCard`.

    Raises:
        NasdepthError: no such prior, or something in a file does not read.
    """
    start = _prior(prior)
    if isinstance(start, GpuPrior):
        return calibrate_gpu(name, start, anchors.path, anchors.operations, setting or {}, sources)
    fields = setting_of(start, setting)
    measured = anchors.read(runtime_of(str(fields["delegate"])))
    if isinstance(start, CardFile) and isinstance(start.card, GpuPackCard):
        return adapt_gpu(name, start, measured, fields, sources)
    return calibrate_pack(
        name,
        measured,
        start,
        setting=fields,
        sources=sources,
        latency=anchors.latency_column,
        inferred=inferred,
    )


def _prior(name: str) -> Prior | Pack | GpuPrior | GpuPack:
    if name in prior_names():
        return read_prior(name)
    if name in gpu_priors():
        return read_gpu_prior(name)
    path = Path(name)
    if path.suffix == ".yaml" and path.is_file() and "kind" not in read_card(path):
        return read_prior(name)
    priors = ", ".join((*prior_names(), *gpu_priors()))
    try:
        table = load_table(name)
    except TableError:
        raise
    except NasdepthError as error:
        raise TableError(f"{error}; priors are {priors}") from None
    if not isinstance(table.card, PackCard | GpuPackCard):
        raise TableError(f"{name}: a {table.card.kind} table is no prior; there are {priors}, and packs")
    return table
