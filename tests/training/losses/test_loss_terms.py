"""The registry: every term from a recipe's YAML to a value, and errors that name what is wrong."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import BaseModel

from nasdepth.errors import NasdepthError
from nasdepth.training.losses import (
    LossInputs,
    LossTerm,
    LossTerms,
    affinity_loss,
    feature_l2_loss,
    parse_terms,
    register_term,
    sig_loss,
    term_class,
    term_names,
    virtual_normal_loss,
)
from nasdepth.training.losses import registry as registry_module
from nasdepth.training.losses.ordinal import pairs_from_depth
from nasdepth.training.recipe import Recipe

REPOSITORY = Path(__file__).resolve().parents[3]
LAYERS = {"decoder": (4, 6), "encoder.stage2": (3, 8)}
# what a recipe must say about a term that has no default
REQUIRED = {
    name: {"layers": list(LAYERS)} for name in ("distill_features", "distill_affinity", "distill_channels")
}
REQUIRED["segmentation"] = {"classes": 4}
EVERY = pytest.mark.parametrize("name", term_names())


def one(name, **parameters):
    (term,) = parse_terms({name: REQUIRED.get(name, {}) | parameters}).values()
    return term


@pytest.fixture
def inputs(batch):
    """Everything that any term may ask for, float32, as a training step has it."""
    pred, target, mask = (x if x.dtype == torch.bool else x.float() for x in batch)
    generator = torch.Generator().manual_seed(4)

    def random(*shape):
        return torch.rand(*shape, generator=generator)

    poses = torch.eye(4).repeat(3, 2, 1, 1)
    poses[:, 0, 0, 3], poses[:, 1, 0, 3] = 120.0, -150.0
    student = {name: random(3, c, 6, 8) for name, (c, _) in LAYERS.items()}
    teacher = {"decoder": random(3, 6, 12, 16).half(), "encoder.stage2": random(3, 8, 3, 4)}
    return LossInputs(
        pred_mm=pred.requires_grad_(),
        target_mm=target,
        mask=mask,
        inverse=1000 / target.clamp_min(1),
        inverse_mask=mask,
        pairs=pairs_from_depth(target, mask, 30, generator=generator),
        rgb=random(3, 3, 12, 16) * 255,
        intrinsics=torch.tensor([[14.0, 0, 7.5], [0, 14.0, 5.5], [0, 0, 1]]).expand(3, 3, 3),
        sources=random(3, 2, 3, 12, 16) * 255,
        poses=poses,
        teacher_mm=pred.detach() * 1.2 + 300,
        labels=torch.randint(-1, 4, target.shape, generator=generator),
        features={name: x.requires_grad_() for name, x in student.items()},
        teacher_features=teacher,
        generator=torch.Generator().manual_seed(1),
    )


@EVERY
def test_every_term_has_a_finite_value_and_gradient(name, inputs):
    torch.manual_seed(0)
    term = one(name)
    modules = term.modules(LAYERS)
    value = term.value(inputs, modules)
    value.backward()
    assert value.shape == () and value.isfinite() and value > 0
    reached = [inputs.pred_mm] if term.of_prediction else [*inputs.features.values(), *modules.parameters()]
    assert all(tensor.grad.isfinite().all() and (tensor.grad != 0).any() for tensor in reached)


@EVERY
def test_every_term_says_what_it_lacks(name, inputs):
    term = one(name)
    for need in term.alternatives[0]:
        if len(term.alternatives) > 1:
            continue  # the others may feed it
        lacking = LossInputs(**{**vars(inputs), need: None})
        with pytest.raises(
            NasdepthError, match=rf"loss term {name} needs {need}, which this training does not"
        ):
            term.require(lacking)
    term.require(inputs)
    # and needs no more than it says
    for fields in term.alternatives:
        enough = LossInputs(**{field: getattr(inputs, field) for field in {"pred_mm", *fields}})
        assert not term.absent(enough)
        assert term.value(enough, term.modules(LAYERS)).isfinite()


def test_pairs_are_drawn_from_metric_depth_or_from_relative_maps(inputs):
    term = one("sampled_ranking")
    relative = LossInputs(inputs.pred_mm, inverse=inputs.inverse, inverse_mask=inputs.inverse_mask)
    metric = LossInputs(inputs.pred_mm, target_mm=inputs.target_mm, mask=inputs.mask)
    values = [
        term.value(replace(given, generator=torch.Generator().manual_seed(1)), None)
        for given in (relative, metric)
    ]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    with pytest.raises(NasdepthError, match="sampled_ranking needs mask, target_mm, which"):
        term.require(LossInputs(inputs.pred_mm))
    with pytest.raises(NasdepthError, match="sampled_ranking needs inverse_mask, which"):
        term.require(replace(relative, inverse_mask=None))


def test_the_sum_over_layers_is_their_mean_times_their_number(inputs):
    mean, total = (one("distill_affinity", reduce=reduce).value(inputs, {}) for reduce in ("mean", "sum"))
    assert total.item() == pytest.approx(len(LAYERS) * mean.item(), rel=1e-6)


@EVERY
def test_every_term_survives_writing_and_reading(name):
    term = one(name, weight=0.25)
    assert term.name == name and term_class(name) is type(term)

    class Recipe(BaseModel):
        terms: LossTerms

    recipe = Recipe(terms={name: term})
    assert recipe.terms[name] is term
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert parse_terms(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")["terms"]))) == {
        name: term
    }


def test_a_recipe_lists_terms_as_the_docs_say():
    listed = yaml.safe_load(
        "{sig: {weight: 1, variance: 0.85}, gradient: {weight: 0.25, scales: 4}, "
        "robust: {alpha: -.inf}, ssim: }"
    )
    terms = parse_terms(listed)
    assert list(terms) == ["sig", "gradient", "robust", "ssim"]
    assert (terms["sig"].weight, terms["sig"].variance) == (1, 0.85)
    assert (terms["gradient"].weight, terms["gradient"].scales) == (0.25, 4)
    assert terms["robust"].alpha == -math.inf and terms["ssim"].weight == 1


@pytest.mark.parametrize(("listed", "words"), [
    ({"sgi": {"weight": 1}}, r"terms\.sgi: unknown loss term .value: .* .did you mean sig\?.; there are "),
    ({"sig": {"varience": 0.9}}, r"sig\.varience: unknown field .*0\.9\) .did you mean variance.*; there"),
    ({"sig": {"variance": 1.5}}, r"terms\.sig\.variance: .*less than or equal to 1 \(value: 1\.5\)"),
    ({"sig": {"form": "cube"}}, r"terms\.sig\.form: .*'root', 'square' or 'unbiased' \(value: 'cube'\)"),
    ({"l1": {}, "gradient": {"scales": 0}}, r"terms\.gradient\.scales: .*\(value: 0\)"),
    ({"l1": {"weight": -1}}, r"terms\.l1\.weight: .*greater than or equal to 0 \(value: -1\)"),
    ({"l1": {"weight": math.inf}}, r"terms\.l1\.weight: .*finite number \(value: inf\)"),
    ({"l1": {"weight": "much"}}, r"terms\.l1\.weight: .*valid number.* \(value: 'much'\)"),
    ({"l1": 0.5}, r"terms\.l1: must list parameters \(value: 0\.5\); write for instance \{weight: 1\}"),
    ({"robust": {"alpha": math.nan}}, r"terms\.robust\.alpha: .*must be a number \(value: nan\)"),
    ({"segmentation": {"classes": 1}}, r"terms\.segmentation\.classes: .*\(value: 1\)"),
    ({"distill_features": {}}, r"terms\.distill_features\.layers: is missing"),
    ({"distill_affinity": {"layers": [], "form": "smart"}}, r"distill_affinity\.layers: .*value: \[\]"),
    ({}, r"loss\.terms: lists no loss term \(value: \{\}\); write for instance"),
    ([{"sig": {}}], r"loss\.terms: lists no loss term"),
])  # fmt: skip
def test_errors_name_field_value_and_what_there_is(listed, words):
    with pytest.raises(NasdepthError, match=words):
        parse_terms(listed)


def test_the_docs_list_every_term_and_parameter_with_its_default():
    text = (REPOSITORY / "docs" / "losses.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text.split("## Conventions")[0], re.MULTILINE))
    assert listed == {
        name: ", ".join(
            f"`{parameter}`" if field.is_required() else f"`{parameter}: {yaml_of(field.default)}`"
            for parameter, field in term_class(name).model_fields.items()
            if parameter != "weight"
        )
        for name in term_names()
    }
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    recipe = Recipe(**yaml.safe_load(example))
    assert {"sig", "gradient"} < set(recipe.loss) and recipe.balance.kind == "rebalance"


def yaml_of(default):
    return yaml.safe_dump(default, default_flow_style=True).splitlines()[0]


def test_errors_name_the_file_they_are_told_of():
    with pytest.raises(NasdepthError, match=r"mine\.yaml: loss\.terms\.sig\.weight: "):
        parse_terms({"sig": {"weight": "x"}}, "mine.yaml: loss.terms")


def test_parameters_reach_the_loss(inputs):
    args = inputs.pred_mm, inputs.target_mm, inputs.mask
    value = one("sig", variance=0.3, form="unbiased").value(inputs, None)
    assert value == sig_loss(*args, 0.3, "unbiased")
    named = dict(triples=0.4, max_cosine=0.9, min_edge_m=0.3, drop=0.1)
    expected = virtual_normal_loss(
        *args, inputs.intrinsics, **named, generator=torch.Generator().manual_seed(1)
    )
    assert one("virtual_normal", **named).value(inputs, None) == expected


def test_a_field_of_view_stands_in_for_intrinsics(inputs):
    term = one("virtual_normal", horizontal_fov_deg=60)
    assert "intrinsics" not in term.needs
    term.require(LossInputs(**{**vars(inputs), "intrinsics": None}))
    with pytest.raises(NasdepthError, match="needs intrinsics"):
        one("virtual_normal").require(LossInputs(**{**vars(inputs), "intrinsics": None}))


def test_feature_terms_average_layers_and_resize_the_teacher(inputs):
    term = one("distill_features")
    modules = term.modules(LAYERS)
    assert {key: (m.in_channels, m.out_channels) for key, m in modules.items()} == {
        "decoder": (4, 6),
        "encoder-stage2": (3, 8),
    }
    pooled = torch.nn.functional.avg_pool2d(inputs.teacher_features["decoder"].float(), 2)
    grown = torch.nn.functional.interpolate(
        inputs.teacher_features["encoder.stage2"], scale_factor=2, mode="bilinear"
    )
    first = feature_l2_loss(modules["decoder"](inputs.features["decoder"]), pooled)
    second = feature_l2_loss(modules["encoder-stage2"](inputs.features["encoder.stage2"]), grown)
    assert term.value(inputs, modules).item() == pytest.approx((first + second).item() / 2, rel=1e-6)


@pytest.mark.parametrize("name", ["distill_features", "distill_affinity", "distill_channels"])
@pytest.mark.parametrize("inside", [False, True], ids=["after autocast", "in autocast"])
def test_features_of_an_autocast_network_are_welcome(name, inside, inputs):
    """They are bfloat16, and a loop may leave autocast before it asks for the loss, or not."""
    torch.manual_seed(0)
    term = one(name)
    modules = term.modules(LAYERS)
    narrow = {layer: x.bfloat16() for layer, x in inputs.features.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        value = term.value(LossInputs(**{**vars(inputs), "features": narrow}), modules)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(term.value(inputs, modules).item(), rel=0.03)


def test_known_positions_are_those_that_cover_a_known_pixel(inputs):
    mask = torch.zeros_like(inputs.mask)
    mask[:, 0, 3, 5] = mask[:, 0, 10, 14] = mask[:, 0, 11, 0] = True
    positions = torch.zeros(3, 1, 6, 8, dtype=torch.bool)
    positions[:, 0, 1, 2] = positions[:, 0, 5, 7] = positions[:, 0, 5, 0] = True
    teacher = inputs.teacher_features["decoder"][..., :6, :8].float()
    given = LossInputs(**{**vars(inputs), "mask": mask, "teacher_features": {"decoder": teacher}})
    value = one("distill_affinity", layers=["decoder"], where="known").value(given, {})
    assert value == affinity_loss(inputs.features["decoder"], teacher, positions)


def test_layers_that_are_not_there_are_named(inputs):
    term = one("distill_features", layers=["neck"])
    with pytest.raises(NasdepthError, match=r"layers names 'neck', which .* not give; it gives decoder, enc"):
        term.modules(LAYERS)
    with pytest.raises(
        NasdepthError, match="distill_affinity: layers names 'neck', which the student does not"
    ):
        one("distill_affinity", layers=["neck"]).value(inputs, {})


def test_anyone_can_register_a_term_once(monkeypatch):
    monkeypatch.setattr(registry_module, "_TERMS", dict(registry_module._TERMS))

    @register_term("brightness")
    class Brightness(LossTerm):
        target: float = 1.0

        @property
        def needs(self):
            return frozenset()

        def value(self, inputs, modules):
            return (inputs.pred_mm - self.target).abs().mean()

    term = parse_terms({"brightness": {"target": 3}})["brightness"]
    assert term.value(LossInputs(torch.ones(1, 1, 2, 2)), None) == 2
    with pytest.raises(ValueError, match="loss term 'brightness' is registered twice"):
        register_term("brightness")(Brightness)
    with pytest.raises(NasdepthError, match=r"there are sig, .*, brightness"):
        parse_terms({"dark": None})
