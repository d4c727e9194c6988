"""Devices that measure .tflite files, by URI."""

from __future__ import annotations

from nasdepth.devices.base import Device, DeviceInfo, Measurement
from nasdepth.devices.diagnosis import Diagnosis, Finding
from nasdepth.devices.kinds import KINDS, register_device
from nasdepth.devices.local import LocalDevice
from nasdepth.devices.uri import DeviceUri, parse_uri

__all__ = [
    "Device",
    "DeviceInfo",
    "DeviceUri",
    "Diagnosis",
    "Finding",
    "LocalDevice",
    "Measurement",
    "open_device",
    "parse_uri",
    "register_device",
]


def open_device(uri: str = "local", threads: int | None = None) -> Device:
    """Open a device by URI, such as `local`, `local-gpu`, `ssh://pi@board?threads=4`, `adb`.

    Nothing is connected to before the device is asked something.

    Args:
        uri: see `DeviceUri` for the options.
        threads: of the runtime; the URI's, else 1, where not given.

    Raises:
        DeviceError: no such kind of device or option, or threads other than the URI's.
    """
    setting = parse_uri(uri).with_threads(threads)
    return KINDS[setting.kind].open(setting)


@register_device("local", summary="this machine's CPU", options=("threads", "cores"))
@register_device("local-gpu", summary="this machine's GPU", options=("threads", "cores", "icd"))
def _open_local(setting: DeviceUri) -> Device:
    return LocalDevice(setting=setting)


@register_device(
    "ssh",
    summary="ssh://user@host[:port], a Linux board",
    options=("threads", "cores", "gpu", "icd", "python", "config", "tmp", "retry"),
    address="needed",
)
def _open_ssh(setting: DeviceUri) -> Device:
    from nasdepth.devices.ssh import SshDevice

    return SshDevice(setting)


@register_device(
    "adb",
    summary="adb or adb://serial, an Android phone",
    options=("threads", "cores", "gpu", "xnnpack", "binary"),
    address="optional",
)
def _open_adb(setting: DeviceUri) -> Device:
    from nasdepth.devices.adb import AdbDevice

    return AdbDevice(setting)
