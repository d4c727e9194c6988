"""Kinds of devices: the word that a URI begins with, the options behind its `?`, and what opens it.

A kind of one's own takes one decorator::

    @register_device("fpga", summary="fpga://HOST, an FPGA", address="needed", options=("bitstream",))
    class FpgaDevice(Device):
        def __init__(self, setting: DeviceUri) -> None:
            self.host, self.bitstream = setting.host, setting.own.get("bitstream")

`--device fpga://lab-3?bitstream=v2` then opens it, wherever a command takes a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nasdepth.devices.base import Device
    from nasdepth.devices.uri import DeviceUri

Address = Literal["none", "optional", "needed"]


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device.

    Attributes:
        name: what its URIs begin with.
        summary: what it is and how its URI is written, for error messages and help.
        open: makes the device from a parsed URI, without connecting to anything.
        options: names that may stand behind the `?` of the URI.
        address: whether `://` and an address follow the name.
    """

    name: str
    summary: str
    open: Callable[[DeviceUri], Device]
    options: tuple[str, ...] = ()
    address: Address = "none"


KINDS: dict[str, DeviceKind] = {}


def register_device[D: Callable[..., Device]](
    name: str, *, summary: str, options: Sequence[str] = ("threads",), address: Address = "none"
) -> Callable[[D], D]:
    """Register a class of devices, or a function that opens one; it is called with a `DeviceUri`.

    Args:
        name: what its URIs begin with; letters, digits and hyphens.
        summary: what it is and how its URI is written, such as "ssh://user@host[:port], a Linux board".
        options: names behind the `?` of the URI. Those that `DeviceUri` has, such as threads and cores, are
            checked and converted; all others are handed over as text, in `DeviceUri.own`.
        address: whether `://ADDRESS` may follow the name, or must. The address is `DeviceUri.host`.

    Raises:
        ValueError: the name cannot begin a URI, or another device is registered under it.
    """
    if not name.replace("-", "a").isalnum() or not name.isascii():
        raise ValueError(f"device {name!r}: a name has letters, digits and hyphens only")

    def register(opened_by: D) -> D:
        known = KINDS.get(name)
        # a module that is imported anew, as notebooks do it, replaces what it registered before
        if known is not None and _place(known.open) != _place(opened_by):
            raise ValueError(f"the device {name!r} is registered already, by {_place(known.open)}")
        KINDS[name] = DeviceKind(name, summary, opened_by, tuple(options), address)
        return opened_by

    return register


def _place(what: Callable[..., object]) -> str:
    return f"{what.__module__}.{what.__qualname__}"
