"""Recipes: what a YAML file and --set can say, and what they are told when they are wrong."""

import math
import re

import pytest
import yaml

from nasdepth.errors import NasdepthError
from nasdepth.training.recipe import Recipe, load_recipe, recipe_names
from nasdepth.zoo import designs


@pytest.mark.parametrize("name", recipe_names())
def test_every_seed_survives_being_written(name, tmp_path):
    recipe = load_recipe(name)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.about and recipe.source


# what a training step has of each thing that a recipe can train on
GIVEN = {
    "metric depth": {"target_mm", "mask", "rgb"},
    "ordinal pairs": {"pairs", "rgb"},
    "relative depth": {"inverse", "inverse_mask", "rgb"},
    "video": {"rgb", "sources", "poses", "intrinsics"},
    "teacher": {"teacher_mm", "teacher_features", "features"},
    "labels": {"labels"},
}


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_seed_says_it_trains_on_feeds_its_terms(name):
    recipe = load_recipe(name)
    listed = re.search(r"Trains on: (.*)\.", recipe.about)[1].split(", ")
    everything = set().union(*(GIVEN[one] for one in listed))
    fed = (next(one for one in term.alternatives if one <= everything) for term in recipe.loss.values())
    needs = set().union(*fed)
    for one in listed:
        rest = set().union(*(GIVEN[other] for other in listed if other != one))
        assert needs - rest, f"nothing needs {one}"
    assert recipe.distils == ("teacher" in listed) == (recipe.teacher is not None)
    assert (recipe.pose is not None) == ("video" in listed)


def test_every_seed_of_the_issue_is_there():
    assert set(recipe_names()) == {
        "default", "litedepth", "smart", "gylab", "samsung-diw", "monodepth2", "xdistill", "proxy",
        "airia", "ytl", "cfl2", "hit-aiia", "weichi", "monovision", "bts", "megaue", "samsung-nyu",
        "samsung-mc", "redweb",
    }  # fmt: skip
    named = {recipe for design in designs().values() for recipe in design.recipes}
    assert named == set(recipe_names()) - {"default", "proxy", "xdistill"}


def test_a_recipe_without_its_teacher():
    recipe = load_recipe(
        "samsung-diw", {"teacher.layers": ["stride4"], "loss.distill_features.layers": ["e8"]}
    )
    assert recipe.distils and recipe.teacher_layers == ("penultimate", "e8", "stride4")
    alone = recipe.without_teacher()
    assert set(alone.loss) == {"ranking"} and alone.teacher is None and not alone.distils
    assert alone.balance == recipe.balance and alone.teacher_layers == ()
    assert not recipe.with_(**{
        f"loss.{name}.weight": 0 for name in ("distill_output", "distill_affinity", "distill_features")
    }).distils  # fmt: skip
    with pytest.raises(NasdepthError, match=r"nothing is left \(value: distill_output\)"):
        recipe.with_(loss={"distill_output": {}}).without_teacher()


def test_overrides_reach_every_section():
    recipe = load_recipe("default", {
        "epochs": "10", "loss.gradient.weight": 0.25, "loss.robust.alpha": math.inf,
        "balance.kind": "rebalance", "balance.direction": "easy",
        "augmentation.blur": 0.5, "teacher.layers": ["stride4"],
        "intermediate.weights": [0.6, 0.4], "mixture.nyu:a.b/c.mat": 0.5, "optimizer.learning_rate": "1e-3",
    })  # fmt: skip
    assert recipe.epochs == 10 and recipe.optimizer.learning_rate == 1e-3
    assert recipe.loss["gradient"].weight == 0.25 and recipe.loss["sig"] == load_recipe("default").loss["sig"]
    assert recipe.loss["robust"].alpha == math.inf
    assert (recipe.balance.kind, recipe.balance.direction) == ("rebalance", "easy")
    assert recipe.augmentation == load_recipe("default").augmentation.model_copy(update={"blur": 0.5})
    assert recipe.teacher.layers == ("stride4",) and recipe.intermediate.weights == (0.6, 0.4)
    assert recipe.mixture == {"nyu:a.b/c.mat": 0.5}
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.loss_recipe.terms == recipe.loss and recipe.loss_recipe.balance == recipe.balance
    assert recipe.with_(**{"balance.kind": "dynamic"}).balance.kind == "dynamic"


@pytest.mark.parametrize(
    ("path", "value", "named", "mend"),
    [
        ("epochs", 0, "epochs", "greater than or equal to 1"),
        ("epochs", "ten", "epochs", "valid integer"),
        ("epoch", 3, "epoch", "did you mean epochs"),
        ("optimizer.learning_rate", 0, "optimizer.learning_rate", "greater than 0"),
        ("optimizer.learning_rate", math.inf, "optimizer.learning_rate", "finite"),
        ("optimizer.learnign_rate", 1, "optimizer.learnign_rate", "did you mean learning_rate"),
        ("learning_rate", 1, "learning_rate", "there are about, source, epochs"),
        ("epochs.x", 1, "epochs is 30", "has no field 'x'"),
        ("schedule.name", "polynomial", "schedule.name", "'poly'"),
        ("schedule.warmup", 1.0, "schedule.warmup", "less than 1"),
        ("loss.gradeint.weight", 0.5, "loss.gradeint", "did you mean gradient"),
        ("loss.gradient.scale", 3, "loss.gradient.scale", "did you mean scales"),
        ("loss.gradient.weight", -1, "loss.gradient.weight", "greater than or equal to 0"),
        ("loss", {}, "loss", "write for instance"),
        ("balance.kind", "rebalanced", "balance", "'rebalance'"),
        ("balance.strength", 2, "balance.strength", "there are kind"),
        ("augmentation.crops", [[16, 640]], "augmentation.crops.0.0", "greater than or equal to 32"),
        ("augmentation.blurr", 0.1, "augmentation.blurr", "did you mean blur"),
        ("teacher.layer", ["a"], "teacher.layer", "did you mean layers"),
        ("mixture.rooms", -1, "mixture.rooms", "greater than 0"),
    ],
)  # fmt: skip
def test_errors_name_recipe_field_value_and_mend(path, value, named, mend):
    with pytest.raises(NasdepthError) as error:
        load_recipe("default", {path: value})
    said = str(error.value)
    assert said.startswith(f"recipe default: {named}") and mend in said and "value: " in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"loss: {sig: [", "is no YAML"),
        (b"\xff\xfe", "is no YAML"),
        (b"- epochs", "must list fields"),
        (b"", "must list fields"),
        (b"batchsize: 3", "batchsize: unknown field.*value: 3.*did you mean batch_size"),
        (b"1: 3", "1: Keys should be strings"),
        (b"balance: {kind: rebalance, directoin: easy}", "balance.directoin.*did you mean direction"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, said):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NasdepthError, match=f"recipe {path}: .*{said}"):
        load_recipe(path)


def test_an_unknown_name_is_told_its_neighbour():
    with pytest.raises(NasdepthError, match=r"recipe defualt: .*did you mean default\?.*proxy"):
        load_recipe("defualt")


def test_the_fingerprint_is_of_everything_but_the_words():
    recipe = load_recipe("default")
    assert recipe.with_(about="other words").fingerprint == recipe.fingerprint
    prints = {recipe.with_(**{path: value}).fingerprint for path, value in {
        "epochs": 9, "loss_hw": (60, 80), "loss.gradient.scales": 2, "augmentation.flip": False,
        "optimizer.weight_decay": 0.0, "balance.kind": "dynamic", "mixture.scenes": 1.0, "pretrained": False,
    }.items()}  # fmt: skip
    assert len(prints | {recipe.fingerprint}) == 9


def test_trainings_from_before_a_field_are_the_same_while_it_has_its_default():
    """Fingerprints of 2026-11-28, before the first of these fields was there."""
    assert load_recipe("default").fingerprint == "52a56e45e07b"
    assert load_recipe("proxy").fingerprint == "2e7ef1ea9ce7"
    assert load_recipe("monodepth2").fingerprint == "228333acaa0d"
    terms = ("smoothness", "distill_output", "ranking", "sampled_ranking")
    many = load_recipe("default", {
        "loss.virtual_normal.horizontal_fov_deg": 62, "loss.smoothness.weight": 0.1,
        "loss.distill_affinity.layers": ["stride4"], **{f"loss.{name}.weight": 1 for name in terms[1:]},
    })  # fmt: skip
    assert many.fingerprint == "0a2f55314562"
    changed = {
        "cpu_bf16": True, "optimizer.eps": 1e-3, "schedule.floor": 0.1, "augmentation.crop_place": "centre",
        "augmentation.flip_vertical": True, "loss.gradient.reduce": "sum", "loss.gradient.space": "metres",
        "loss.virtual_normal.filter_on": "prediction", "loss.smoothness.scales": 3,
        "loss.distill_output.form": "rmse", "loss.distill_affinity.reduce": "sum",
        "loss.ranking.form": "robust", "loss.sampled_ranking.form": "robust",
    }  # fmt: skip
    prints = {many.with_(**{path: value}).fingerprint for path, value in changed.items()}
    assert len(prints | {many.fingerprint}) == len(changed) + 1
