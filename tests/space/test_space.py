import random
from itertools import product

import optuna
import pytest
import yaml

from nasdepth.architecture import Architecture, DecoderStage, Encoder
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.errors import NasdepthError, SpaceError
from nasdepth.files import shipped
from nasdepth.models import named_designs, resolve
from nasdepth.space import SearchSpace

SMALL = {
    "name": "small",
    "input": {"height": [64, 96], "width": 128},
    "encoder": {"family": "mobilenetv2", "width": [0.5, 1.0], "stride": [8, 16]},
    "decoder": {"skip": ["none", "add"], "block": ["conv", "dsconv"], "kernel": [1, 3], "width": [8, 16],
                "upsampling": ["nearest", "bilinear"]},
    "head": {"stride": [8], "upsampling": ["nearest", "bilinear"]},
}  # fmt: skip
SHIPPED = sorted(path.stem for path in shipped("search_spaces").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    """Write SMALL with some fields replaced (None takes one out), by dotted name."""

    def write(**changes):
        content = yaml.safe_load(yaml.safe_dump(SMALL))
        for name, value in changes.items():
            *sections, field = name.split("__")
            holder = content
            for section in sections:
                holder = holder[section]
            if value is None:
                del holder[field]
            else:
                holder[field] = value
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def brute_force() -> set[Architecture]:
    """Every architecture of SMALL, by nested loops over the constructor."""
    found = set()
    decoder = SMALL["decoder"]
    stages = list(product(decoder["block"], decoder["kernel"], decoder["width"]))
    ups = ["nearest", "bilinear"]
    for height, width, kept, head in product([64, 96], [0.5, 1.0], [3, 4, 5], ups):
        encoder = Encoder("mobilenetv2", width, kept)
        for neck in stages:
            first = DecoderStage("none", *neck)
            if kept == 3:  # stride 8 is the head's
                found.add(Architecture(height, 128, encoder, (first,), "nearest", head))
                continue
            for skip, stage, up in product(decoder["skip"], stages, ups):
                found.add(Architecture(height, 128, encoder, (first, DecoderStage(skip, *stage)), up, head))
    return found


def test_enumeration_is_the_brute_force_set(write):
    space = SearchSpace.load(write())
    listed = list(space.architectures())
    assert len(listed) == len(set(listed))
    assert set(listed) == brute_force()


def test_size_counts_spellings(write):
    # 2 heights, widths and heads; 8 necks at stride 8 or 2 stage counts, 8 necks, 2 skips, 8 blocks, 2 modes
    assert SearchSpace.load(write()).size == 2 * 2 * 2 * (8 + 2 * 8 * 2 * 8 * 2)


@pytest.mark.parametrize("name", ["small", *SHIPPED])
def test_what_is_sampled_is_contained_and_can_be_suggested(name, write):
    space = SearchSpace.load(write() if name == "small" else name)
    rng = random.Random(0)
    drawn = [space.sample(rng) for _ in range(300)]
    assert len(set(drawn)) > 100
    for architecture in drawn:
        assert space.contains(architecture), space.violations(architecture)
        parameters = space.parameters(architecture)
        assert space.suggest(optuna.trial.FixedTrial(parameters)) == architecture


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder__block": ["dsconv"]},  # of kernel 1 it is a conv, which the space does not list
        {"decoder__upsampling": ["bilinear"]},  # a single stage has none
        {"encoder__width": [0.97, 1.01]},  # canonical multipliers differ from those listed
        {"input": {"height": [480], "width": [640]}, "head__upsampling": ["bilinear"], "head__stride": [1]},
        {"decoder__block": ["fbnet"], "decoder__kernel": [1]},  # an mbconv at the deepest stage, of kernel 3
        {"decoder__block": ["fbnet", "conv"]},
        {"decoder__block": ["mbconv", "fbnet"], "decoder__kernel": [1]},
        {"decoder__block": ["rfdb", "doubleconv"], "decoder__kernel": [1, 5]},  # neither has all of these
        {"decoder__attention": ["none", "se", "ca", "nonlocal"], "decoder__reparam": ["rep", "linear"]},
        {"decoder__skip": ["gate"], "head__upsampling": ["lpg"], "head__stride": [4]},
        {"input__coordinates": [False, True]},
    ],
)
def test_canonical_spellings_stay_in_the_space(write, changes):
    space = SearchSpace.load(write(**changes))
    rng = random.Random(1)
    for _ in range(60):
        architecture = space.sample(rng)
        assert space.contains(architecture), space.violations(architecture)
        assert space.suggest(optuna.trial.FixedTrial(space.parameters(architecture))) == architecture


def test_an_optuna_study_draws_from_the_space(write):
    space = SearchSpace.load(write())
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    everything = brute_force()
    drawn = {space.suggest(study.ask()) for _ in range(60)}
    assert drawn <= everything and len(drawn) > 40


def test_sampling_repeats_by_seed():
    space = SearchSpace.load("depth")
    first, again, other = (space.sample(random.Random(seed)) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("64x128", "96x160", ["input_width is 160", "128"]),
        ("mobilenetv2", "mobilenetv1", ["family is mobilenetv1", "mobilenetv2"]),
        ("@0.5", "@0.8", ["width is 0.8", "0.5, 1.0"]),
        (":4,", ":2,", ["stages is 2", "3, 4, 5"]),
        ("-k3-", "-k5-", ["s16.kernel is 5", "1, 3"]),
        ("add-conv", "concat-conv", ["s8.skip is concat", "none, add"]),
        ("k1-w16", "k1-w24", ["s8.width is 24", "8, 16"]),
        ("none-conv-k3", "none-mbconv-k3", ["s16.block is mbconv", "conv, dsconv"]),
        ("k1-w16", "k1-w16-se", ["s8.attention is se", "none"]),
        ("add-conv", "gate-conv", ["s8.skip is gate", "none, add"]),
        ("64x128", "64x128xy", ["coordinates is True", "False"]),
        ("up-nearest-bilinear", "up-nearest-bilinear,reparam-rep", ["reparam is rep", "none"]),
        ("up-nearest-bilinear", "up-nearest-lpg", ["head_upsampling is lpg", "nearest, bilinear"]),
    ],
)
def test_violations_name_the_choice_and_what_is_allowed(write, old, new, words):
    space = SearchSpace.load(write())
    inside = "64x128,mobilenetv2@0.5:4,none-conv-k3-w8,add-conv-k1-w16,up-nearest-bilinear"
    assert old in inside and space.violations(Architecture.parse(inside)) == []
    outside = Architecture.parse(inside.replace(old, new))
    text = "; ".join(space.violations(outside))
    assert all(word in text for word in words), text
    assert not space.contains(outside)
    with pytest.raises(SpaceError) as error:
        space.parameters(outside)
    assert str(outside) in str(error.value) and "small" in str(error.value) and words[0] in str(error.value)


def test_another_depth_of_decoder_is_outside(write):
    space = SearchSpace.load(write())
    deeper = "64x128,mobilenetv2@0.5:4,none-conv-k3-w8,add-conv-k1-w16,none-conv-k1-w8,up-nearest-bilinear"
    assert any("head_stride is 4" in text for text in space.violations(Architecture.parse(deeper)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {}}, ["inputs"]),
        ({"encoder__depth": [3]}, ["encoder.depth", "[3]"]),
        ({"head": None}, ["head"]),
        ({"head__stride": None}, ["head.stride"]),
        ({"input__height": [64, 33]}, ["input.height", "33", "32"]),
        ({"input__height": 0}, ["input.height", "0"]),
        ({"input__width": "wide"}, ["input.width", "wide"]),
        ({"input__width": [128.5]}, ["input.width", "128.5"]),
        ({"input__width": []}, ["input.width", "[]"]),
        ({"input__width": [128, 128]}, ["input.width", "128", "twice"]),
        ({"encoder__family": ["mobilenetv2", "resnet50"]}, ["encoder.family", "resnet50", "mobilenetv1"]),
        ({"encoder__width": [-1]}, ["encoder.width", "-1"]),
        ({"encoder__width": [7.5]}, ["encoder.width", "7.5"]),
        ({"encoder__stride": [64]}, ["encoder.stride", "64"]),
        ({"decoder__skip": ["sum"]}, ["decoder.skip", "sum", "'none', 'add', 'concat', 'gate' or 'lrgate'"]),
        ({"decoder__block": "rfbd"}, ["decoder.block", "rfbd", "rfdb"]),
        ({"decoder__attention": ["se", "cbam"]}, ["decoder.attention", "cbam", "'nonlocal'"]),
        ({"decoder__reparam": ["branches"]}, ["decoder.reparam", "branches", "'linear'"]),
        ({"input__coordinates": ["xy"]}, ["input.coordinates", "xy"]),
        ({"decoder__kernel": [2]}, ["decoder.kernel", "2"]),
        ({"decoder__width": {"low": 8, "high": 60, "step": 8}}, ["decoder.width", "60"]),
        ({"decoder__width": {"low": 16, "high": 8, "step": 8}}, ["decoder.width", "16"]),
        ({"decoder__width": {"low": 8, "high": 16, "step": 0}}, ["decoder.width", "step"]),
        ({"decoder__width": {"low": 8, "high": 16}}, ["decoder.width", "step"]),
        ({"decoder__width": {"low": 8, "hgih": 16, "step": 8}}, ["decoder.width", "hgih"]),
        ({"head__upsampling": ["cubic"]}, ["head.upsampling", "cubic"]),
        ({"name": "a/b"}, ["name", "a/b"]),
        ({"encoder": "mobilenetv2"}, ["encoder", "mobilenetv2"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_yaml_errors_name_file_field_and_value(write, changes, words):
    path = write(**changes)
    with pytest.raises(SpaceError) as error:
        SearchSpace.load(path)
    assert all(word in str(error.value) for word in [str(path), *words]), error.value


@pytest.mark.parametrize("content", [b"name: [", b"\x89PNG\r\n\xff\xfe", b"- a\n- b\n", b"", b"just words"])
def test_what_is_no_space_is_said(tmp_path, content):
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=r"space\.yaml: (is no YAML|must list fields such as `name: )"):
        SearchSpace.load(path)


def test_a_missing_space_lists_the_shipped_ones():
    with pytest.raises(NasdepthError, match=r"huge: no such file.*depth, quick"):
        SearchSpace.load("huge")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_spaces_hold_litedepth(name):
    space = SearchSpace.load(name)
    assert space.name == name
    assert space.named()["litedepth"] == resolve("litedepth")
    assert set(space.named()) == {n for n, design in named_designs().items() if space.contains(design)}


# At the narrowest width of the space still deeper, or with dense 3x3 convolutions throughout, than a device
# of tens of milliseconds can run; named designs and spaces of one's own use them
TOO_BIG_FAMILIES = {
    "resnet18",
    "resnet50",
    "unet",
    "efficientnet_b1",
    "efficientnet_es",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite3",
    "efficientnet_lite4",
    "mobilenetv4_conv_medium",
}
# Encoders that papers compare theirs with; the full space stays what recorded trainings were drawn from
COMPARED_FAMILIES = {"efficientnet_b0", "mnasnet_b1", "fbnetv3_b"}
# Its dilations of up to 24 reach past maps of at most 28x36, and cost what they cost anyhow
TOO_WIDE_BLOCKS = {"aspp"}


def test_the_full_space_has_every_dimension():
    from nasdepth.families import families

    definition = SearchSpace.load("depth").definition
    assert set(definition.encoder.family) == set(families()) - TOO_BIG_FAMILIES - COMPARED_FAMILIES
    assert set(definition.decoder.block) == set(BLOCKS) - TOO_WIDE_BLOCKS
    assert set(definition.decoder.kernel) == {1, 3, 5}
    assert set(definition.decoder.skip) == {"none", "add", "concat", "gate"}
    assert set(definition.decoder.attention) == {"none", "se", "ca"}
    assert set(definition.decoder.reparam) == {"none", "rep", "linear"}
    heights, widths = definition.input.height, definition.input.width
    assert any(height != width for height, width in product(heights, widths)) and len(heights) > 3
    assert len(definition.encoder.width) > 10
    assert set(definition.head.upsampling) == {"nearest", "bilinear"}


def test_the_fingerprint_follows_the_content_not_the_name(write):
    first = SearchSpace.load(write()).fingerprint
    assert SearchSpace.load(write(name="other", description="words")).fingerprint == first
    assert SearchSpace.load(write(input__width=[128])).fingerprint == first
    assert SearchSpace.load(write(input__width=[160])).fingerprint != first


# neighbours, children and what Optuna is asked


@pytest.mark.parametrize("name", ["small", *SHIPPED])
def test_distributions_are_what_a_trial_is_asked_for(name, write):
    space = SearchSpace.load(write() if name == "small" else name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        architecture = space.suggest(trial)
        asked = study.trials[trial.number].distributions
        if space.parameters(architecture) == trial.params:  # not another spelling
            assert space.distributions(architecture) == asked
        assert set(space.distributions(architecture)) == set(space.parameters(architecture))


def test_what_lies_outside_has_no_distributions_and_no_mutants(write):
    space = SearchSpace.load(write())
    outside = resolve("litedepth")
    for use in (space.distributions, lambda one: space.mutate(one, random.Random(0))):
        with pytest.raises(SpaceError, match="is not in the space small"):
            use(outside)


@pytest.mark.parametrize("name", ["small", *SHIPPED])
def test_mutants_and_children_lie_in_the_space(name, write):
    space = SearchSpace.load(write() if name == "small" else name)
    rng = random.Random(3)
    for _ in range(100):
        one, other = space.sample(rng), space.sample(rng)
        mutant, child = space.mutate(one, rng, rng.choice((1, 2, 5))), space.cross(one, other, rng)
        assert mutant != one and space.contains(mutant) and space.contains(child)


def test_one_change_changes_one_choice():
    """The rest stays, but for what the changed choice brings with it."""
    space = SearchSpace.load("depth")
    rng = random.Random(0)
    steps = []
    for _ in range(200):
        one = space.sample(rng)
        before = space.parameters(one)
        after = space.parameters(space.mutate(one, rng))
        changed = [name for name in before if name in after and before[name] != after[name]]
        structural = {"family", "stages", "head_stride", "width"} & set(changed)
        assert structural or len(changed) <= 2  # a block may bring its own kernel
        if changed == ["input_height"]:
            steps.append(abs(after["input_height"] - before["input_height"]) // 32)
    assert steps and sum(step <= 2 for step in steps) > len(steps) / 2


def test_more_changes_go_farther():
    space = SearchSpace.load("depth")

    def distance(changes):
        rng = random.Random(0)
        total = 0
        for _ in range(100):
            one = space.sample(rng)
            before, after = space.parameters(one), space.parameters(space.mutate(one, rng, changes))
            total += sum(before[name] != after.get(name) for name in before)
        return total

    assert distance(1) < distance(3) < distance(8)


def test_a_child_has_its_parents_choices():
    space = SearchSpace.load("depth")
    rng = random.Random(0)
    inherited = total = 0
    for _ in range(100):
        one, other = space.sample(rng), space.sample(rng)
        parents = space.parameters(one), space.parameters(other)
        child = space.parameters(space.cross(one, other, rng))
        for name, value in child.items():
            total += 1
            inherited += any(parent.get(name) == value for parent in parents)
    assert inherited > 0.9 * total
    same = space.sample(rng)
    assert space.cross(same, same, rng) == same


def test_a_space_of_one_has_no_mutants(write):
    path = write(
        input={"height": 64, "width": 128},
        encoder={"family": "mobilenetv2", "width": 0.5, "stride": 8},
        decoder={"skip": "none", "block": "conv", "kernel": 1, "width": 8, "upsampling": "nearest"},
        head={"stride": 8, "upsampling": "nearest"},
    )
    space = SearchSpace.load(path)
    (only,) = space.architectures()
    assert space.mutate(only, random.Random(0)) == only and space.distributions(only) == {}


def test_a_space_can_be_restricted_to_families():
    space = SearchSpace.load("depth")
    some = space.restricted(["lcnet", "mobilenetv2"])
    assert some.definition.encoder.family == ("mobilenetv2", "lcnet")  # in the space's own order
    assert some.fingerprint != space.fingerprint and some.name == space.name
    assert {some.sample(random.Random(n)).encoder.family for n in range(30)} == {"mobilenetv2", "lcnet"}
    assert space.restricted(space.definition.encoder.family).fingerprint == space.fingerprint
    with pytest.raises(SpaceError, match=r"no family of space depth is left"):
        space.restricted([])
    with pytest.raises(SpaceError, match=r"depth has no family resnet; it has mobilenetv1"):
        space.restricted(["resnet"])
