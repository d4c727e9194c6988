"""Devices that measure .tflite files, by URI."""

from __future__ import annotations

from nasdepth.devices.base import Device, DeviceInfo, Measurement
from nasdepth.devices.diagnosis import Diagnosis, Finding
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
    if setting.kind == "ssh":
        from nasdepth.devices.ssh import SshDevice

        return SshDevice(setting)
    if setting.kind == "adb":
        from nasdepth.devices.adb import AdbDevice

        return AdbDevice(setting)
    return LocalDevice(setting=setting)
