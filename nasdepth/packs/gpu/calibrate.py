"""GPU packs for `nasdepth latency calibrate`: from a phone's published operations, or from another pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nasdepth.errors import TableError
from nasdepth.packs.anchors import Anchor
from nasdepth.packs.gpu.card import GpuPack
from nasdepth.packs.gpu.fit import adapt, fit_pack
from nasdepth.packs.gpu.prior import GpuPrior
from nasdepth.packs.gpu.validation import validated
from nasdepth.packs.published_operations import read_end_to_end, read_models
from nasdepth.packs.source import Source

_RULES = Source(
    used="which kernel the delegate chooses (nasdepth/packs/gpu/delegate.yaml)",
    url="https://github.com/tensorflow/tensorflow/tree/v2.8.0/tensorflow/lite/delegates/gpu/common",
    licence="Apache-2.0",
)


def calibrate_gpu(
    name: str,
    prior: GpuPrior,
    networks: Path,
    operations: Path | None,
    setting: Mapping[str, str | int],
    sources: Sequence[Source],
) -> GpuPack:
    """A pack from whole networks and their operations, with its errors on what it was not fitted to.

    Args:
        name: of the pack.
        prior: of the phone; its name is that of the columns.
        networks, operations: CSV files, see `nasdepth.packs.published_operations`.
        setting: fields of the card that differ from the prior's.
        sources: of the times.

    Raises:
        TableError: no operations, or a file that does not read; the message names it.
    """
    if operations is None:
        raise TableError(
            f"prior {prior.name}: kernels of a GPU are fitted to operations; give their CSV "
            "as `operations`, or adapt a pack, such as malig76-gpu as `prior`"
        )
    models, latencies_ms = read_models(operations), read_end_to_end(networks)
    fields = {**prior.setting, **setting}
    pack = fit_pack(name, models, latencies_ms, prior.name, prior.family, fields, (*sources, _RULES))
    return validated(pack, models, latencies_ms, prior.name)


def adapt_gpu(
    name: str,
    pack: GpuPack,
    anchors: Sequence[Anchor],
    setting: Mapping[str, str | int],
    sources: Sequence[Source],
) -> GpuPack:
    """A pack for another board from networks measured there; see `nasdepth.packs.gpu.fit.adapt`."""
    return adapt(name, pack, [(one.kernels, one.latency_ms) for one in anchors], setting, sources)
