"""The shipped predictor passes what is asked of any."""

from nasdepth.latency import TablePredictor
from nasdepth.testing import PredictorConformance


class TestTablePredictor(PredictorConformance):
    def create(self, table):
        return TablePredictor(table)
