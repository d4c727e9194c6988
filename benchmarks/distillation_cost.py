"""What a distilled step costs beside a plain one, with the teacher's outputs on disk and with it at work.

    taskset -c 0 python benchmarks/distillation_cost.py FOLDER --steps 20

Times are of the process (CPU seconds), medians over the steps, batch included; the cases take turns within
each step, so that what else runs on the machine reaches all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

from nasdepth.data import Mixture, load_split
from nasdepth.models import build_any
from nasdepth.training import load_recipe
from nasdepth.training.batches import batches
from nasdepth.training.distill import TeacherCache
from nasdepth.training.learner import build_learner

LAYERS = ("stride8", "stride4")
CASES = {
    "plain": {},
    "+ teacher's depth": {"distill_output": {}},
    "+ L2 on stride8 and stride4": {"distill_output": {}, "distill_features": {"layers": LAYERS}},
    "+ affinity of stride8": {"distill_output": {}, "distill_affinity": {"layers": LAYERS[:1]}},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="scenes", help="a data set with metric depth")
    parser.add_argument("--images", type=int, default=64, help="that the teacher looks at")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--student", default="litedepth")
    parser.add_argument("--teacher", default="teacher:efficientnet_lite0@240x320")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    split = load_split(arguments.data, "train")
    split = split.subset(np.arange(min(arguments.images, len(split))))
    mixture = Mixture(split, arguments.batch)
    teacher = build_any(arguments.teacher).eval()
    device = torch.device("cpu")

    started = time.process_time()
    cache = TeacherCache.of(teacher, [split], LAYERS, device=device, progress=False)
    storing = (time.process_time() - started) / len(split)

    def step_of(terms):
        recipe = load_recipe("default")
        recipe = recipe.with_(loss=dict(recipe.loss) | terms, ema_decay=None)
        model = build_any(arguments.student).to(memory_format=torch.channels_last)
        learner = build_learner(model, recipe, mixture, [cache] if terms else [], device)
        optimizer = torch.optim.AdamW(learner.parameters(), 1e-3, fused=True)
        feed = batches(
            (mixture.step(0, number) for number in range(arguments.steps + 3)),
            recipe.augmentation,
            tuple(model.input_hw),
            recipe.loss_hw,
            extras=[cache] if terms else [],
        )

        def step() -> None:
            total, _ = learner(next(feed))
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()

        return step

    @torch.inference_mode()
    def teach() -> None:
        rgb = torch.zeros(arguments.batch, 3, *teacher.input_hw).contiguous(memory_format=torch.channels_last)
        teacher.predict(teacher.decode(rgb), (120, 160))

    steps = {name: step_of(terms) for name, terms in CASES.items()} | {"the teacher at work": teach}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.steps + 3):
        for name, step in steps.items():
            started = time.process_time()
            step()
            if number >= 3:
                seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "student": arguments.student,
        "teacher": arguments.teacher,
        "batch": arguments.batch,
        "ms": {name: round(1000 * value, 1) for name, value in medians.items()},
        "of plain": {name: round(value / medians["plain"], 2) for name, value in medians.items()},
        "storing, ms an image": round(1000 * storing, 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
