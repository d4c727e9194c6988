"""What a proxy training spends its time on: seconds an epoch by part, for a few architectures.

    python benchmarks/proxy_cost.py --data path/to/nyuv2
    python benchmarks/proxy_cost.py --data path/to/nyuv2 --device cuda --resident
    python benchmarks/proxy_cost.py --data path/to/nyuv2 --set cpu_bf16=true --arch litedepth

Steps are timed one by one; an epoch is the median step times their number, and one validation, timed whole.
On a CPU times are of the process (CPU seconds), so that what else runs on the machine counts less. On a GPU
they are of the clock, and every part is waited for, so that the sum is more than a training takes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch

from nasdepth.data import Mixture, load_split
from nasdepth.models import build, resolve
from nasdepth.searching.objective import hold_out_validation
from nasdepth.space import SearchSpace
from nasdepth.training import Recipe, load_recipe, validate
from nasdepth.training.batches import make_batch
from nasdepth.training.learner import build_learner
from nasdepth.training.memory import freed_memory_kept
from nasdepth.training.optimisation import build_optimizer
from nasdepth.training.recipe import parse_overrides
from nasdepth.training.resident import resident_portions

PARTS = ("batch", "forward", "loss", "backward", "optimizer", "validation")
_WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="scenes", help="a data set with metric depth")
    parser.add_argument("--arch", action="append", help="an architecture or design; repeatable")
    parser.add_argument("--space", default="depth", help="where architectures are drawn from without --arch")
    parser.add_argument("--count", type=int, default=4, help="how many are drawn")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--recipe", default="proxy")
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of the recipe")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resident", action="store_true", help="images live on the device")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    recipe = load_recipe(arguments.recipe, parse_overrides(arguments.set))
    fit, validation = hold_out_validation(load_split(arguments.data, "train"))
    if arguments.arch:
        architectures = [resolve(name) for name in arguments.arch]
    else:
        space, rng = SearchSpace.load(arguments.space), np.random.default_rng(0)
        architectures = [space.sample(rng) for _ in range(arguments.count)]
    print(f"{device}, {len(fit)} images to train and {len(validation)} to validate; seconds an epoch")
    print("  ".join(f"{part:>10s}" for part in (*PARTS, "epoch")))
    for architecture in architectures:
        with freed_memory_kept(device):
            spent = measure(build(architecture), fit, validation, recipe, device, arguments)
        spent["epoch"] = sum(spent.values())
        shares = "  ".join(f"{spent[part]:10.2f}" for part in (*PARTS, "epoch"))
        print(f"{shares}  {architecture}", flush=True)


def measure(model, fit, validation, recipe: Recipe, device: torch.device, arguments) -> dict[str, float]:
    """Seconds an epoch of each part."""
    mixture = Mixture(fit, recipe.batch_size)
    residents = resident_portions(mixture, device) if arguments.resident else {}
    learner = build_learner(model, recipe, mixture, (), device)
    model.scale_mm.fill_(2500.0)
    optimizer = build_optimizer(learner, recipe, pretrained=False)
    parameters = [one for one in learner.parameters() if one.requires_grad]
    seconds: dict[str, list[float]] = defaultdict(list)

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            return time.perf_counter()
        return time.process_time()

    def timed(part: str, function: Callable, *values):
        begin = clock()
        result = function(*values)
        seconds[part].append(clock() - begin)
        return result

    def prepared(step):
        batch = make_batch(
            step, recipe.augmentation, tuple(model.input_hw), recipe.loss_hw, residents=residents
        )
        return batch.to(device)

    def judged(inputs):
        return learner.objective(*inputs, learner.objective.fed(inputs[0]))

    def stepped():
        if recipe.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        optimizer.step()

    for number in range(arguments.steps + _WARM_UP):
        batch = timed("batch", prepared, mixture.step(0, number))
        inputs = timed("forward", learner.inputs, batch)
        total, _ = timed("loss", judged, inputs)
        optimizer.zero_grad(set_to_none=True)
        timed("backward", total.backward)
        timed("optimizer", stepped)
    spent = {
        part: statistics.median(one[_WARM_UP:]) * mixture.steps_per_epoch for part, one in seconds.items()
    }
    for _ in range(2):
        begin = clock()
        validate(model, validation, device=device, resident=arguments.resident)
        spent["validation"] = clock() - begin
    return spent


if __name__ == "__main__":
    main()
