"""Every recipe of a paper trains the design that is the paper's: a step of the real loop."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from nasdepth.architecture import Architecture
from nasdepth.data import open_split
from nasdepth.data.diw import write_diw
from nasdepth.models import build
from nasdepth.training import load_recipe, train
from nasdepth.training.distill import TeacherCache
from nasdepth.zoo import designs, recipes_of

# whatever a recipe says about how long and how large, one small step is enough to reach every part of it
QUICK = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1, "loss_hw": [48, 64]}
TEACHER = Architecture.parse(
    "64x96,mobilenetv2@0.2:6,none-conv-k1-w16,concat-conv-k3-w16,concat-conv-k3-w8,up-nearest-bilinear"
)


@pytest.fixture(scope="module")
def sources(scenes, tmp_path_factory):
    """Splits by what recipes say that they train on; all of two rendered images."""
    few = scenes.subset([0, 1])
    root = tmp_path_factory.mktemp("kinds")
    write_diw(few, root / "diw", "train", pairs=20)
    for name in ("rgb", "disparity"):
        (root / "relative" / name).mkdir(parents=True)
    for index in range(len(few)):
        Image.fromarray(few.rgb_view(index)).save(root / "relative" / "rgb" / f"{index}.png")
        depth_mm = np.asarray(few.depth_view(index), np.float64)
        disparity = np.where(depth_mm > 1, 1 / depth_mm.clip(1), np.nan)
        np.save(root / "relative" / "disparity" / f"{index}.npy", disparity)
    (root / "relative" / "train.txt").write_text("0\n1\n")
    return {
        "metric depth": few,
        "ordinal pairs": open_split(f"diw:{root / 'diw'}", "train", progress=False),
        "relative depth": open_split(f"relative:{root / 'relative'}", "train", progress=False),
    }


def _pairs():
    return [
        pytest.param(name, recipe, id=f"{name}-{recipe}")
        for name, design in designs().items()
        for recipe in design.recipes
        # networks of the same family and decoder, of other widths, differ in nothing that matters here
        if not re.fullmatch(r"samsung-fbnet-.*|litedepth-final", name)
        and recipe != "monodepth2"  # video: tests/searching/test_search_retraining.py
    ]


@pytest.mark.parametrize(("name", "recipe_name"), _pairs())
def test_a_step_of_the_papers_training(name, recipe_name, sources):
    recipe = load_recipe(recipe_name, QUICK)
    (kind,) = (kind for kind in sources if kind in recipe.about.replace("\n", " ").partition("Trains on:")[2])
    split = sources[kind]
    extras = []
    if recipe.distils:
        torch.manual_seed(1)
        extras = [TeacherCache.of(build(TEACHER), [split], recipe.teacher_layers, progress=False)]
    torch.manual_seed(0)
    network = build(replace(designs()[name].architecture, input_height=64, input_width=96))
    before = {key: tensor.clone() for key, tensor in network.named_parameters()}
    (epoch,) = train(network, split, recipe, extras=extras)
    assert math.isfinite(epoch.loss) and epoch.learning_rate == recipe.optimizer.learning_rate
    assert set(epoch.terms) >= set(recipe.loss), "a term was not fed"
    assert all(value > 0 for term, value in epoch.terms.items() if term in recipe.loss)
    assert any(not torch.equal(tensor, before[key]) for key, tensor in network.named_parameters())


def test_a_design_proposes_its_recipe():
    assert recipes_of(designs()["monovision"].architecture) == ("monovision",)
    assert recipes_of(designs()["samsung-fbnet"].architecture)[0] == "samsung-diw"
    assert recipes_of(TEACHER) == ()
