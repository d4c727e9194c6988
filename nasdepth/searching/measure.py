"""Candidates on the real device: whether it is the table's, and what it measures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import optuna

from nasdepth.architecture import Architecture
from nasdepth.deploy import export_tflite
from nasdepth.deploy.quantise import convert_for_timing
from nasdepth.devices import Device, DeviceInfo, Measurement, open_device, parse_uri
from nasdepth.errors import DeviceError
from nasdepth.kernels.precision import Precision
from nasdepth.latency.predict.card import SETTING, DeviceSetting
from nasdepth.models import build
from nasdepth.searching.records import WHOLE, Outcome, TrialRecord

_MIN_RUNS = 50
_MIN_SECONDS = 1.0
# kept with the study, not with a trial: workers share them, and an ended trial cannot be written
_ATTRIBUTE = "nasdepth_measured "


def differences(info: DeviceInfo, card: DeviceSetting) -> str:
    """Every field in which a device is not the one that a table's card names; empty if it is the same."""
    return "; ".join(
        f"{field} is {getattr(info, field)!r}, the table's is {getattr(card, field)!r}"
        for field in SETTING
        if getattr(info, field) != getattr(card, field)
    )


def open_beside(uri: str, threads: int | None, card: DeviceSetting) -> Device:
    """Open the device that is to measure beside a table's estimates.

    Args:
        uri: of the device, see `nasdepth.devices.open_device`.
        threads: of the runtime; where neither they nor the URI say it, the table's on the table's own device,
            and 1 on any other.

    Raises:
        DeviceError: the device cannot be reached or used.
    """
    if threads is not None or parse_uri(uri).threads is not None:
        return open_device(uri, threads)
    device = open_device(uri, card.threads)
    if card.threads == 1 or not differences(device.describe(), card):
        return device
    device.close()
    return open_device(uri)


class CandidateBench:
    """Measures untrained candidates on the device that a latency table was made for.

    Args:
        device: what to measure on.
        card: of the table whose estimates the measurements replace.

    Raises:
        DeviceError: the device cannot be reached, or is not the one of the card; every field is named.
    """

    def __init__(self, device: Device, card: DeviceSetting) -> None:
        self.device = device
        if different := differences(device.describe(), card):
            raise DeviceError(
                f"device {device.uri} is not the one that the latency table is of: {different}. Its "
                "measurements cannot stand beside the table's estimates: give the table's own device as "
                f"`device`, or build a table with `nasdepth latency build --device {device.uri} "
                f"--threads {card.threads}`"
            )

    def measure(
        self, architectures: Sequence[Architecture], precision_of: Callable[[Architecture], Precision]
    ) -> Generator[tuple[Architecture, Measurement], None, None]:
        """Export untrained and measure side by side; about 4 s a network for the export, 1 s for the rest.

        Args:
            architectures: of the candidates.
            precision_of: in which each is deployed.

        Raises:
            DeviceError: the connection is lost; what was yielded before stands.
        """
        with tempfile.TemporaryDirectory(prefix="nasdepth-") as scratch:
            paths = [Path(scratch) / f"{one.key}.tflite" for one in architectures]
            for architecture, path in zip(architectures, paths, strict=True):
                # times do not depend on the weights
                export_tflite(build(architecture), path, verify=False)
                if (precision := precision_of(architecture)) != "float32":
                    convert_for_timing(path, path, precision)
            measuring = self.device.measure(paths, min_runs=_MIN_RUNS, min_seconds=_MIN_SECONDS)
            with closing(measuring) as measurements:
                yield from zip(architectures, measurements, strict=True)


def measurements(study: optuna.Study) -> dict[Architecture, Measurement]:
    """Every candidate that was measured in a study, by whichever worker."""
    kept = {
        Architecture.parse(name.removeprefix(_ATTRIBUTE)): value
        for name, value in study.user_attrs.items()
        if name.startswith(_ATTRIBUTE)
    }
    return {one: Measurement(Path(f"{one.key}.tflite"), **value) for one, value in kept.items()}


def keep_measurement(study: optuna.Study, architecture: Architecture, measurement: Measurement) -> None:
    """Put a measurement into the study's storage."""
    value = asdict(measurement)
    del value["model"]
    study.set_user_attr(f"{_ATTRIBUTE}{architecture}", value)


def judged(
    record: TrialRecord, measurement: Measurement | None, max_latency_ms: float | None = None
) -> TrialRecord:
    """A record in the light of a measurement, which may have come after its training."""
    if measurement is None:
        return record
    trained = record.outcome in WHOLE
    if measurement.error:
        return replace(record, outcome=Outcome.REFUSED, note=measurement.error) if trained else record
    record = record.with_measurement(measurement.latency_ms)
    if trained and max_latency_ms is not None and measurement.latency_ms > max_latency_ms:
        note = f"measured, above {max_latency_ms:g} ms"
        return replace(record, outcome=Outcome.TOO_SLOW, note=note)
    return record
