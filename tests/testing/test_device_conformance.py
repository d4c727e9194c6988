"""This machine passes what is asked of any device."""

from nasdepth.devices import open_device
from nasdepth.testing import DeviceConformance


class TestLocalDevice(DeviceConformance):
    def create(self):
        return open_device("local")
