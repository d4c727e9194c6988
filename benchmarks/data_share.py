"""What share of a training step loading and augmentation take: LiteDepth's design, batch 16, one core.

    taskset -c 0 python benchmarks/data_share.py FOLDER --steps 30

Times are of the process (CPU seconds), medians over the steps; the cases take turns within each step, so that
what else runs on the machine reaches all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from nasdepth.data import Mixture, load_split
from nasdepth.models import build, resolve
from nasdepth.training import Recipe
from nasdepth.training.augment import Augmentation
from nasdepth.training.batches import make_batch
from nasdepth.training.learner import build_learner
from nasdepth.training.optimisation import build_optimizer

CASES = {
    "crops, flip, colour": {},
    "+ rotation 2.5 degrees of half": {"rotation_degrees": 2.5},
    "+ gamma": {"gamma": 0.1},
    "+ CutDepth on half": {"cut_depth": 0.5},
    "+ blur of a fifth": {"blur": 0.2},
    "+ noise on a fifth": {"noise": 0.2},
    "all of these": {"rotation_degrees": 2.5, "gamma": 0.1, "cut_depth": 0.5, "blur": 0.2, "noise": 0.2},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="scenes", help="a data set with metric depth")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--model", default="litedepth")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = Recipe()
    model = build(resolve(arguments.model))
    mixture = Mixture(load_split(arguments.data, "train"), arguments.batch)
    learner = build_learner(model, recipe, mixture, (), torch.device("cpu"))
    model.scale_mm.fill_(2500.0)
    optimizer = build_optimizer(learner, recipe, pretrained=False)
    where = (tuple(model.input_hw), recipe.loss_hw)
    augmentations = {name: Augmentation(**changes) for name, changes in CASES.items()}

    def train(batch) -> None:
        loss, _ = learner(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        loss.item()
        optimizer.step()

    seconds: dict[str, list[float]] = {name: [] for name in (*CASES, "network")}

    def timed(name: str, function, *values):
        begin = time.process_time()
        result = function(*values)
        seconds[name].append(time.process_time() - begin)
        return result

    for number in range(arguments.steps + 3):
        step = mixture.step(0, number)
        # the first touch of a page is the disk's, not the augmentation's
        make_batch(step, augmentations["all of these"], *where)
        for name, augmentation in augmentations.items():
            batch = timed(name, make_batch, step, augmentation, *where)
        timed("network", train, batch)
    network = statistics.median(seconds["network"][3:])
    print(f"network, loss and optimiser {network * 1e3:7.1f} ms a step of {arguments.batch}")
    shares = {}
    for name in CASES:
        spent = statistics.median(seconds[name][3:])
        shares[name] = spent / (spent + network)
        print(f"{name:32s} {spent * 1e3:7.1f} ms  {shares[name]:5.1%} of the step")
    print(json.dumps({"model": arguments.model, "batch": arguments.batch, "shares": shares}))


if __name__ == "__main__":
    main()
