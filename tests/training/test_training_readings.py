"""Numbers of the steps of an epoch, and what is said where they are not finite."""

import pytest
import torch

from nasdepth.errors import DivergedError
from nasdepth.training.readings import GRADIENT, TOTAL, Readings

NAMES = [TOTAL, "sig", "ranking", GRADIENT]


def test_means_are_over_the_steps_that_gave_the_number():
    readings = Readings(torch.device("cpu"), 0, "")
    assert readings.add(0, [TOTAL, "sig"], torch.tensor([1.0, 4.0])) == (0, 1.0)
    assert readings.add(1, [TOTAL, "ranking"], torch.tensor([3.0, 8.0])) == (1, 3.0)
    readings.finish()
    assert readings.means() == {TOTAL: 2.0, "sig": 4.0, "ranking": 8.0}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([float("nan"), 1, float("inf"), float("nan")], "loss.ranking is inf"),
        ([float("nan"), float("nan"), float("inf"), 1], "loss.sig is nan and loss.ranking is inf"),
        ([float("inf"), 1, 2, float("inf")], "the total loss is inf"),
        ([3, 1, 2, float("nan")], "the gradient norm is nan"),
    ],
)
def test_what_is_not_finite_is_named_where_it_began(values, said):
    readings = Readings(torch.device("cpu"), 2, "do something else")
    with pytest.raises(DivergedError) as error:
        readings.add(4, NAMES, torch.tensor(values))
    assert str(error.value) == f"{said} at epoch 3, step 5; do something else"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_read_one_step_late():
    readings = Readings(torch.device("cuda"), 0, "")
    assert readings.add(0, [TOTAL], torch.tensor([1.0], device="cuda")) is None
    assert readings.add(1, [TOTAL], torch.tensor([float("nan")], device="cuda")) == (0, 1.0)
    with pytest.raises(DivergedError, match="step 2"):
        readings.finish()
