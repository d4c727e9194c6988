import random
import re

import pytest

from nasdepth.architecture import Architecture, DecoderStage, Encoder
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.errors import SpaceError
from nasdepth.families import families, get_family, round_channels
from nasdepth.models import build, name_of, named_designs, resolve
from nasdepth.space import SearchSpace

LITEDEPTH = (
    "128x160,mobilenetv3_small_minimal@1:5,none-conv-k1-w72,concat-conv-k1-w24,concat-conv-k1-w8,"
    "concat-conv-k3-w24,up-bilinear-nearest"
)


def samples(count: int, seed: int = 0) -> list[Architecture]:
    space, rng = SearchSpace.load("depth"), random.Random(seed)
    return [space.sample(rng) for _ in range(count)]


def channels_of_every_block(family: str, width: float, stages: int) -> list[int]:
    """All channel counts that the block strings of the kept stages spell, at a width."""
    definition = get_family(family)
    plain = [definition.stem_channels]
    for blocks in definition.stages[:stages]:
        plain += [
            int(part[1:]) for block in blocks for part in block.split("_") if re.fullmatch(r"[tc]\d+", part)
        ]
    return [round_channels(channels * width, definition.divisor) for channels in plain]


def test_string_form_round_trips_for_the_whole_space():
    drawn = samples(500)
    assert len(set(drawn)) > 490
    for architecture in drawn:
        again = Architecture.parse(str(architecture))
        assert again == architecture and hash(again) == hash(architecture)
        assert str(again) == str(architecture) and again.key == architecture.key
    assert len({architecture.key for architecture in drawn}) == len(set(drawn))
    assert len({str(architecture) for architecture in drawn}) == len(set(drawn))


EVERY_WORD = (
    "256x320xy,mobilenetv2@0.5:7,none-aspp-k3-w32-nonlocal,gate-fbnet-k5-w24-se,add-rfdb-k3-w16-ca,"
    "concat-ghost-k1-w16,none-pydnet-k3-w8,up-bilinear-lpg,reparam-linear"
)


def test_every_field_is_spelt_and_read():
    architecture = Architecture.parse(EVERY_WORD)
    assert str(architecture) == EVERY_WORD
    assert architecture == Architecture(
        256, 320, Encoder("mobilenetv2", 0.5, 7),
        (
            DecoderStage("none", "aspp", 3, 32, "nonlocal"),
            DecoderStage("gate", "fbnet", 5, 24, "se"),
            DecoderStage("add", "rfdb", 3, 16, "ca"),
            DecoderStage("concat", "ghost", 1, 16),
            DecoderStage("none", "pydnet", 3, 8),
        ),
        "bilinear",
        "lpg",
        coordinates=True,
        reparam="linear",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("block", "kernel"), [(name, kernel) for name, kind in BLOCKS.items() for kernel in kind.kernels]
)
def test_every_block_and_kernel_round_trips(block, kernel):
    text = f"64x96,mobilenetv2@0.5:7,none-conv-k1-w16,none-{block}-k{kernel}-w8,up-nearest-nearest"
    architecture = Architecture.parse(text)
    assert Architecture.parse(str(architecture)) == architecture
    if (block, kernel) != ("dsconv", 1):
        assert str(architecture) == text


def test_string_form_is_safe_in_a_shell():
    assert all(re.fullmatch(r"[\w@:.,-]+", str(architecture)) for architecture in samples(50))


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("@1.01:5", "@1:5"),
        ("@1.0:5", "@1:5"),
        ("@0.999:5", "@1:5"),
        ("none-dsconv-k1-w72", "none-conv-k1-w72"),
        ("none-dsconv-k1-w72-se", "none-conv-k1-w72-se"),
        ("none-conv-k1-w72-none", "none-conv-k1-w72"),
        ("up-nearest-nearest,reparam-none", "up-nearest-nearest"),
        ("0128x0160xy", "128x160xy"),
        ("0128x0160", "128x160"),
    ],
)
def test_two_spellings_of_one_graph_are_one(spelling, canonical):
    base = LITEDEPTH.replace("up-bilinear", "up-nearest")
    parts = {
        "@": "@1:5",
        "none": "none-conv-k1-w72",
        "0128": "128x160",
        "up": "up-nearest-nearest",
    }
    original = next(text for prefix, text in parts.items() if spelling.startswith(prefix))
    spelt, plain = base.replace(original, spelling), base.replace(original, canonical)
    assert spelt != plain
    first, second = Architecture.parse(spelt), Architecture.parse(plain)
    assert first == second and hash(first) == hash(second) and first.key == second.key
    assert str(first) == plain


def test_a_decoder_of_one_stage_has_no_upsampling_of_its_own():
    texts = [f"64x64,mobilenetv2@0.5:3,none-conv-k1-w8,up-{mode}-nearest" for mode in ("bilinear", "nearest")]
    assert Architecture.parse(texts[0]) == Architecture.parse(texts[1])
    kept = [text.replace("-w8,", "-w8,none-conv-k1-w8,") for text in texts]
    assert Architecture.parse(kept[0]) != Architecture.parse(kept[1])


def test_a_head_that_has_nothing_to_upsample_has_no_mode():
    stages = ",".join(["none-conv-k1-w8"] * 4)
    texts = [f"480x640,mobilenetv2@0.5:3,{stages},up-nearest-{mode}" for mode in ("bilinear", "nearest")]
    assert Architecture.parse(texts[0]).head_stride == 1
    assert Architecture.parse(texts[0]) == Architecture.parse(texts[1])
    smaller = [Architecture.parse(text.replace("480x640", "480x608")) for text in texts]
    assert smaller[0] != smaller[1]


@pytest.mark.parametrize("family", list(families()))
def test_a_canonical_width_keeps_every_channel(family):
    rng = random.Random(family)
    for _ in range(60):
        width, stages = rng.uniform(0.1, 2), rng.randint(1, len(get_family(family).stages))
        canonical = Encoder(family, width, stages).width
        wanted = channels_of_every_block(family, width, stages)
        assert channels_of_every_block(family, canonical, stages) == wanted, (width, stages)
        assert Encoder(family, canonical, stages).width == canonical


@pytest.mark.parametrize("change", [
    ("128x160", "160x128"),
    ("128x160", "128x192"),
    ("128x160", "128x160xy"),
    ("@1:5", "@0.5:5"),
    ("@1:5", "@1:4"),
    ("mobilenetv3_small_minimal", "mobilenetv3_small"),
    ("concat-conv-k3-w24", "concat-conv-k5-w24"),
    ("concat-conv-k3-w24", "add-conv-k3-w24"),
    ("concat-conv-k3-w24", "concat-dsconv-k3-w24"),
    ("concat-conv-k3-w24", "concat-conv-k3-w25"),
    ("concat-conv-k3-w24", "gate-conv-k3-w24"),
    ("concat-conv-k3-w24", "concat-fbnet-k3-w24"),
    ("concat-conv-k3-w24", "concat-conv-k3-w24-se"),
    ("concat-conv-k3-w24", "concat-conv-k3-w24-ca"),
    ("concat-conv-k3-w24", "concat-conv-k3-w24-nonlocal"),
    ("up-bilinear-nearest", "up-nearest-nearest"),
    ("up-bilinear-nearest", "up-bilinear-bilinear"),
    ("up-bilinear-nearest", "up-bilinear-lpg"),
    ("up-bilinear-nearest", "up-bilinear-nearest,reparam-rep"),
    ("up-bilinear-nearest", "up-bilinear-nearest,reparam-linear"),
])  # fmt: skip
def test_different_graphs_differ(change):
    text = LITEDEPTH.replace(*change)
    if change[1] == "@1:4":  # one stride less: one decoder stage less
        text = text.replace("concat-conv-k1-w24,", "")
    other = Architecture.parse(text)
    assert other != Architecture.parse(LITEDEPTH) and other.key != Architecture.parse(LITEDEPTH).key


def test_keys_do_not_depend_on_the_process(run_python):
    texts = [str(architecture) for architecture in samples(20)]
    code = (
        "from nasdepth.architecture import Architecture\n"
        f"for text in {texts!r}: print(Architecture.parse(text).key)"
    )
    keys = [Architecture.parse(text).key for text in texts]
    for seed in ("1", "4242"):
        answer = run_python(code, PYTHONHASHSEED=seed)
        assert answer.stdout.split() == keys, answer.stderr
    assert Architecture.parse(LITEDEPTH).key == "0f5118691aec"  # run folders on disk are named by it


def test_architectures_need_neither_torch_nor_optuna(run_python):
    code = (
        "import sys, nasdepth.architecture, nasdepth.families, nasdepth.score\n"
        f"nasdepth.architecture.Architecture.parse({LITEDEPTH!r}).key\n"
        "print(sorted({'torch', 'optuna', 'timm', 'pandas'} & set(sys.modules)))"
    )
    answer = run_python(code)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("128x160", "33x160", ["input height", "33", "multiple of 16"]),
        ("128x160", "128x0", ["input width", "0", "multiple of 16"]),
        ("128x160", "128x1056", ["input width", "1056", "1024"]),
        ("128x160", "128*160", ["128*160", "input size"]),
        ("mobilenetv3_small_minimal", "resnet", ["resnet", "mobilenetv2"]),
        ("@1:5", "@1:6", ["encoder stages is 6", "1 to 5"]),
        ("@1:5", "@1:0", ["encoder stages is 0", "1 to 5"]),
        ("@1:5", "@0.01:5", ["encoder width is 0.01", "0.1 to 4"]),
        ("@1:5", "@9:5", ["encoder width is 9", "0.1 to 4"]),
        ("@1:5", "@1.0.1:5", ["1.0.1", "width multiplier"]),
        ("@1:5", "@x:5", ["mobilenetv3_small_minimal@x:5", "encoder"]),
        ("none-conv-k1-w72", "concat-conv-k1-w72", ["decoder skip", "concat", "stride 32"]),
        ("concat-conv-k3-w24", "sum-conv-k3-w24", ["decoder skip", "sum", "none, add, concat, gate"]),
        ("concat-conv-k3-w24", "concat-rfbd-k3-w24", ["decoder block", "rfbd", "conv, dsconv, mbconv"]),
        ("concat-conv-k3-w24", "concat-conv-k2-w24", ["decoder kernel", "2", "1, 3, 5"]),
        ("concat-conv-k3-w24", "concat-conv-k3-w0", ["decoder width", "0"]),
        ("concat-conv-k3-w24", "concat-conv-k3-w2000", ["decoder width", "2000", "1024"]),
        ("concat-conv-k3-w24", "concat-conv-w24", ["concat-conv-w24", "decoder stage"]),
        ("concat-conv-k3-w24", "concat-rfdb-k5-w24", ["decoder kernel of rfdb", "5", "one of 3"]),
        ("concat-conv-k3-w24", "concat-ffm-k1-w24", ["decoder kernel of ffm", "1", "3, 5"]),
        ("concat-conv-k3-w24", "concat-conv-k3-w24-cbam", ["decoder attention", "cbam", "se, ca, nonlocal"]),
        ("concat-conv-k3-w24", "concat-conv-k3-w24-se-ca", ["concat-conv-k3-w24-se-ca", "decoder stage"]),
        ("none-conv-k1-w72", "none-fbnet-k3-w72", ["decoder block", "fbnet", "stride 32", "upsample"]),
        ("none-conv-k1-w72", "gate-conv-k1-w72", ["decoder skip", "gate", "stride 32"]),
        ("up-bilinear-nearest", "up-lpg-nearest", ["decoder upsampling", "lpg"]),
        ("128x160", "128x160yx", ["128x160yx", "input size"]),
        (
            LITEDEPTH[LITEDEPTH.index(",concat") :],
            ",none-conv-k1-w24,up-nearest-lpg",
            ["head upsampling", "'lpg'", "2, 4 or 8", "32, 16"],
        ),
        ("up-bilinear-nearest", "up-bilinear-nearest,reparam-repvgg", ["reparam", "repvgg", "rep, linear"]),
        ("up-bilinear-nearest", "up-bilinear-nearest,reparam", ["reparam", "reparam-linear"]),
        ("up-bilinear-nearest", "reparam-rep,up-bilinear-nearest", ["reparam-rep", "decoder stage"]),
        ("up-bilinear-nearest", "up-cubic-nearest", ["decoder upsampling", "cubic"]),
        ("up-bilinear-nearest", "up-bilinear-area", ["head upsampling", "area"]),
        ("up-bilinear-nearest", "bilinear-nearest", ["bilinear-nearest", "upsampling"]),
        (",none-conv-k1-w72", ",none-conv-k1-w72" + ",none-conv-k1-w8" * 3, ["7 decoder stages", "1 to 6"]),
        (LITEDEPTH, "litedepht", ["litedepht", "no architecture"]),
        (LITEDEPTH, "", ["''", "no architecture"]),
    ],
)
def test_errors_name_the_value(old, new, words):
    assert old in LITEDEPTH
    with pytest.raises(SpaceError) as error:
        Architecture.parse(LITEDEPTH.replace(old, new, 1))
    assert all(word in str(error.value) for word in words), error.value


def test_a_skip_at_full_resolution_has_no_source():
    encoder = Encoder("mobilenetv2", 0.5, 2)  # stride 4
    stages = [DecoderStage("none", "conv", 1, 8), DecoderStage("add", "conv", 1, 8)]
    with pytest.raises(SpaceError, match="'add' at stride 1"):
        Architecture(64, 64, encoder, (*stages, DecoderStage("add", "conv", 1, 8)))


def test_strides_and_head_follow_from_the_encoder():
    litedepth = Architecture.parse(LITEDEPTH)
    assert litedepth.encoder.stride == 32
    assert litedepth.decoder_strides == (32, 16, 8, 4) and litedepth.head_stride == 4
    assert litedepth.encoder.channels == {2: 16, 4: 16, 8: 24, 16: 48, 32: 96}


def test_litedepth_has_its_published_size():
    from nasdepth.latency import architecture_kernels

    litedepth = resolve("litedepth")
    assert str(litedepth) == LITEDEPTH and name_of(litedepth) == "litedepth"
    net = build(litedepth)
    assert sum(parameter.numel() for parameter in net.encoder.parameters()) == 372_440
    assert sum(parameter.numel() for parameter in net.parameters()) == 388_081
    assert sum(kernel.macs for kernel in architecture_kernels(litedepth)) / 1e6 == pytest.approx(
        26.7, abs=0.05
    )


def test_names_resolve_and_misspelt_ones_are_listed():
    for name, design in named_designs().items():
        assert resolve(name) == design == resolve(str(design))
    assert name_of(samples(1)[0]) is None
    with pytest.raises(SpaceError, match=r"'litedeep'.*litedepth"):
        resolve("litedeep")


@pytest.mark.parametrize("channels", [*range(1, 200, 7), 32.5, 71.9, 100.8])
def test_channels_round_to_eights_and_lose_at_most_a_tenth(channels):
    rounded = round_channels(channels)
    assert rounded % 8 == 0 and rounded >= max(8, 0.9 * channels) and rounded <= max(8, channels + 8)
