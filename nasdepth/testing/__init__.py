"""What any new predictor and any new device must pass; needs pytest.

Subclass in a test file of your own, say what to test, and run pytest::

    from nasdepth.testing import DeviceConformance, PredictorConformance

    class TestMyPredictor(PredictorConformance):
        def create(self, table):
            return MyPredictor(table)

    class TestMyDevice(DeviceConformance):
        def create(self):
            return MyDevice("board.local")
"""

from nasdepth.testing.devices import DeviceConformance
from nasdepth.testing.predictors import PredictorConformance, enlarged

__all__ = ["DeviceConformance", "PredictorConformance", "enlarged"]
