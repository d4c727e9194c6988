"""Devices that measure .tflite files, by URI."""

from __future__ import annotations

from nasdepth.devices.base import Device, DeviceInfo, Measurement
from nasdepth.devices.local import LocalDevice
from nasdepth.errors import DeviceError

__all__ = ["Device", "DeviceInfo", "LocalDevice", "Measurement", "open_device"]


def open_device(uri: str = "local", threads: int = 1) -> Device:
    """Open a device by URI; `local` is this machine's CPU.

    Raises:
        DeviceError: no such kind of device; the message lists the ones that exist.
    """
    if uri == "local":
        return LocalDevice(threads)
    scheme = uri.split(":")[0]
    later = " ssh:// and adb: are planned and not there yet." if scheme in ("ssh", "adb") else ""
    raise DeviceError(f"device {uri!r}: no such kind of device; use 'local' (this machine's CPU).{later}")
