"""A board behind ssh and a GPU pass what is asked of any device, as this machine's CPU does."""

import pytest

from nasdepth.devices import open_device
from nasdepth.errors import DeviceError
from nasdepth.testing import DeviceConformance


class TestSshDevice(DeviceConformance):
    @pytest.fixture(autouse=True)
    def _uri(self, sshd):
        self.uri = sshd.uri()

    def create(self):
        return open_device(self.uri)


class TestLocalGpu(DeviceConformance):
    @pytest.fixture(autouse=True, scope="class")
    def _gpu(self):
        try:
            open_device("local-gpu").describe()
        except DeviceError as reason:
            pytest.skip(f"no GPU that Vulkan sees, nor chromium's SwiftShader: {reason}")

    def create(self):
        return open_device("local-gpu")
