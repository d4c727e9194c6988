"""Two processes under torchrun against one process with the same batches.

Batch normalisation is where they must differ: each process normalises by its own half of a batch. So whole
trainings are compared with its statistics frozen (weights, averages, losses and scores). With statistics that
are learned the first step's running means, which are of the whole batch, and both processes' states are.
The loss terms are means over images; `gradient`, which divides by the known pixels of a batch, would weigh
the two halves alike.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.data import load_split
from nasdepth.errors import CheckpointError, NasdepthError
from nasdepth.models import build
from nasdepth.training import Recipe, loop, train
from nasdepth.training.augment import NO_AUGMENTATION, Augmentation
from nasdepth.training.batches import make_batch
from nasdepth.training.checkpoint import save_checkpoint
from nasdepth.training.distributed import Processes

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)
# a process draws its own augmentation, so there is none
RECIPE = Recipe(
    epochs=2,
    batch_size=4,
    loss_hw=(60, 80),
    loss={"sig": {}, "l1": {"weight": 0.3}},
    balance={"kind": "dynamic"},
    ema_decay=0.9,
    optimizer={"learning_rate": 1e-3},
    augmentation=NO_AUGMENTATION,
)
STEM_MEAN = "encoder.bn1.running_mean"


def numbers(history):
    return [[one.loss, one.si_rmse, *one.terms.values(), *one.weights.values()] for one in history]


def save_slowly(*args, **state):
    time.sleep(1)
    save_checkpoint(*args, **state)


def run_cases(folder):
    """Both trainings of this process; its states and reports go to a file of its rank."""
    rank = os.environ.get("RANK", "alone")
    if rank == "0":  # the others must not read a checkpoint before it is whole
        loop.save_checkpoint = save_slowly
    few = load_split("scenes:24+6", "train", progress=False).subset(range(8))
    result = {}
    for name, recipe in (
        ("frozen", RECIPE),
        ("learned", RECIPE.with_(epochs=1, steps_per_epoch=1, ema_decay=None)),
    ):
        torch.manual_seed(0)
        net = build(SMALL)
        if name == "frozen":
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval().train = lambda mode=True, module=module: module
        reports = []
        run = {"validation": few.subset([0, 3, 5]), "device": torch.device("cpu"), "on_step": reports.append}
        checkpoint = folder / f"{name}-{'alone' if rank == 'alone' else 'together'}.pt"
        history = train(net, few, recipe, checkpoint=checkpoint, **run)
        result[name] = {"state": net.state_dict(), "history": numbers(history), "steps": len(reports)}
    torch.manual_seed(1)
    again = build(SMALL)
    resumed = train(again, few, recipe, checkpoint=checkpoint, **run)
    result["resumed"] = {"state": again.state_dict(), "same": numbers(resumed) == numbers(history)}
    if rank != "alone":
        own = checkpoint if rank == "0" else folder / "missing.pt"
        try:
            train(build(SMALL), few, recipe, checkpoint=own, **run)
        except CheckpointError as error:
            result["apart"] = str(error)
    torch.save(result, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def results(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    done = subprocess.run([*torchrun, str(folder)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    run_cases(folder)
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in ("alone", "0", "1")}


def test_both_processes_have_one_network(results):
    for case in ("frozen", "learned", "resumed"):
        first, second = results["0"][case]["state"], results["1"][case]["state"]
        assert all(torch.equal(one, second[name]) for name, one in first.items())
    assert results["0"]["frozen"]["history"] == results["1"]["frozen"]["history"]


def test_two_processes_learn_what_one_learns_from_the_whole_batches(results):
    torch.manual_seed(0)
    start = build(SMALL).state_dict()
    together, alone = results["0"]["frozen"], results["alone"]["frozen"]
    assert np.array(together["history"]) == pytest.approx(np.array(alone["history"]), rel=1e-4)
    moved = {name: (one - start[name]).abs().max().item() for name, one in alone["state"].items()}
    apart = {name: (one - together["state"][name]).abs().max().item() for name, one in alone["state"].items()}
    weights = [name for name in moved if name.endswith("weight") and "bn" not in name]
    assert weights and all(apart[name] < 0.02 * moved[name] for name in weights), (apart, moved)


def test_statistics_of_batch_normalisation_are_of_the_whole_batch(results):
    together, alone = (results[one]["learned"]["state"][STEM_MEAN] for one in ("0", "alone"))
    torch.testing.assert_close(together, alone)
    assert together.abs().max() > 0.01


def test_only_the_first_process_reports_and_all_resume(results):
    assert [results[one]["frozen"]["steps"] for one in ("alone", "0", "1")] == [4, 4, 0]
    for one in ("0", "1"):
        assert results[one]["resumed"]["same"]
        state = results[one]["learned"]["state"]
        assert all(torch.equal(t, state[name]) for name, t in results[one]["resumed"]["state"].items())


def test_processes_that_see_different_checkpoints_do_not_wait_for_ever(results):
    for one in ("0", "1"):
        assert "the 2 processes find 1, 0 epochs in it" in results[one]["apart"]


def test_the_parts_make_up_the_step(scenes):
    from nasdepth.data import Mixture

    step = Mixture(scenes, 6).step(0, 1)
    cpu = torch.device("cpu")
    assert Processes(0, 1, cpu).part(step) is step
    parts = [Processes(rank, 3, cpu).part(step) for rank in range(3)]
    assert sorted(index for part in parts for index in part.indices) == step.indices.tolist()
    where = (Augmentation(), (64, 96), (60, 80))
    views = {tuple(make_batch(part, *where).rgb.flatten()[:50].tolist()) for part in parts}
    assert len(views) == 3
    with pytest.raises(NasdepthError, match="batch_size: 7 images cannot be divided among 3 processes"):
        Processes(0, 3, cpu).check(7)


if __name__ == "__main__":
    from pathlib import Path

    run_cases(Path(sys.argv[1]))
