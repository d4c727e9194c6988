"""Every shipped table and pack predicts what it predicted before the code behind it was moved.

`data/predictions.npz` holds 500 architectures drawn from the space `depth`, the named designs, and for every
table and pack (n, 3) float32: latency_ms and the ends of its 90 % interval, NaN where a table has no answer.
What changes predictions on purpose writes the file anew: `python tests/latency/test_predictions_stay.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from nasdepth.architecture import Architecture
from nasdepth.errors import UnknownKernelError
from nasdepth.latency import architecture_kernels
from nasdepth.packs import load_predictor, shipped_tables

REFERENCE = Path(__file__).parent / "data" / "predictions.npz"
# Beyond float32 nothing but the order of sums may differ between machines
RELATIVE = 2e-6


def predictions(name: str, architectures: list[str]) -> np.ndarray:
    predictor = load_predictor(name)
    rows = np.full((len(architectures), 3), np.nan)
    for row, text in zip(rows, architectures, strict=True):
        try:
            estimate = predictor.estimate(architecture_kernels(Architecture.parse(text), predictor.runtime))
        except UnknownKernelError:
            continue
        row[:] = estimate.latency_ms, *estimate.interval_90
    return rows


def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as content:
        return dict(content)


def test_every_shipped_table_is_compared():
    assert set(shipped_tables()) == reference().keys() - {"architectures"}


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_tables())
def test_predictions_are_as_they_were(name):
    stored = reference()
    architectures = stored["architectures"].astype(str).tolist()
    np.testing.assert_allclose(predictions(name, architectures), stored[name], rtol=RELATIVE)


if __name__ == "__main__":
    texts = reference()["architectures"].astype(str).tolist()
    answers = {name: predictions(name, texts).astype(np.float32) for name in shipped_tables()}
    np.savez_compressed(REFERENCE, architectures=np.array(texts).astype("S"), **answers)
