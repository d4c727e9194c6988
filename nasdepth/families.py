"""Encoder families as compact data: what an architecture needs to know of them, without torch.

A family is a stem and a list of stages in timm's block notation (`ir_r2_k3_s2_e6_c24` is two inverted
residuals, kernel 3, stride 2, expansion 6, 24 channels). `nasdepth.models.encoders` builds modules from
the same strings, so adding a family is one `register_family` call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from nasdepth.errors import SpaceError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

_CHANNELS = re.compile(r"_c(\d+)")
_STRIDE = re.compile(r"_s(\d)")

WIDTH_DECIMALS = 4
MIN_WIDTH, MAX_WIDTH = 0.1, 4.0


@dataclass(frozen=True)
class Family:
    """An encoder family.

    Attributes:
        name: how architectures spell it.
        stem_channels: output channels of the 3x3 stride-2 stem at width 1.
        stages: per stage, its blocks in timm's notation.
        activation: timm's name of the activation (blocks marked `nre` keep ReLU).
        timm_name: the timm model whose ImageNet weights fit at width 1.
        normalisation: mean and standard deviation per RGB channel, on 0-1, of those weights.
        source: where the definition was published.
        norm_eps: epsilon of the batch norms those weights were trained with.
    """

    name: str
    stem_channels: int
    stages: tuple[tuple[str, ...], ...]
    activation: str
    timm_name: str
    normalisation: tuple[tuple[float, float, float], tuple[float, float, float]]
    source: str
    norm_eps: float = 1e-5

    def stage_channels(self, width: float) -> tuple[int, ...]:
        """Output channels of the stem and of every stage at a width multiplier."""
        plain = (self.stem_channels, *(int(_CHANNELS.findall(blocks[-1])[0]) for blocks in self.stages))
        return tuple(round_channels(channels * width) for channels in plain)

    def block_channels(self, width: float, stages: int) -> tuple[int, ...]:
        """Output channels of the stem and of every block of the first `stages` stages."""
        blocks = [block for stage in self.stages[:stages] for block in stage]
        plain = (self.stem_channels, *(int(_CHANNELS.findall(block)[0]) for block in blocks))
        return tuple(round_channels(channels * width) for channels in plain)

    def stage_strides(self) -> tuple[int, ...]:
        """Total stride after the stem and after every stage."""
        strides = [2]
        for blocks in self.stages:
            strides.append(strides[-1] * int(_STRIDE.findall(blocks[0])[0]))
        return tuple(strides)

    def feature_channels(self, width: float, stages: int) -> dict[int, int]:
        """Channels of the last feature map at every stride that the first `stages` stages reach."""
        kept = zip(self.stage_strides(), self.stage_channels(width), strict=True)
        return {stride: channels for stride, channels in list(kept)[: stages + 1]}


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor` that loses at most 10 % (the rule of the MobileNet papers)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@lru_cache(maxsize=4096)
def canonical_width(family: str, width: float, stages: int) -> float:
    """The plainest width multiplier that gives the same channels in every block that is kept.

    1.01 and 1 build the same network; both are spelt 1.
    """
    definition = get_family(family)
    scale = 10**WIDTH_DECIMALS
    wanted = definition.block_channels(width, stages)

    def same(steps: int) -> bool:
        return definition.block_channels(steps / scale, stages) == wanted

    def last_same(inside: int, outside: int) -> int:
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            inside, outside = (middle, outside) if same(middle) else (inside, middle)
        return inside

    here = round(width * scale)
    if not same(here):  # the multiplier sits on a rounding edge finer than the grid
        here += 1 if same(here + 1) else -1
    low = last_same(here, 0)
    high = here
    while same(high * 2):
        high *= 2
    high = last_same(high, high * 2)
    for decimals in range(WIDTH_DECIMALS + 1):
        step = 10 ** (WIDTH_DECIMALS - decimals)
        candidate = -(-low // step) * step
        if candidate <= high:
            return candidate / scale
    raise AssertionError("unreachable: the interval holds at least one step of the finest grid")


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Add a family; its name is what architectures and search spaces spell."""
    if family.name in _FAMILIES:
        raise ValueError(f"encoder family {family.name!r} is registered twice")
    _FAMILIES[family.name] = family
    return family


def families() -> dict[str, Family]:
    """All registered families by name."""
    return dict(_FAMILIES)


def get_family(name: str) -> Family:
    """Look a family up.

    Raises:
        SpaceError: unknown name; the message lists the known ones.
    """
    try:
        return _FAMILIES[name]
    except KeyError:
        raise SpaceError(f"unknown encoder family {name!r}; known are {', '.join(_FAMILIES)}") from None


register_family(
    Family(
        name="mobilenetv1",
        stem_channels=32,
        stages=(
            ("dsa_r1_k3_s1_c64",),
            ("dsa_r2_k3_s2_c128",),
            ("dsa_r2_k3_s2_c256",),
            ("dsa_r6_k3_s2_c512",),
            ("dsa_r2_k3_s2_c1024",),
        ),
        activation="relu6",
        timm_name="mobilenetv1_100",
        normalisation=INCEPTION,
        source="Howard et al. 2017, arXiv:1704.04861",
    )
)
register_family(
    Family(
        name="mobilenetv2",
        stem_channels=32,
        stages=(
            ("ds_r1_k3_s1_c16",),
            ("ir_r2_k3_s2_e6_c24",),
            ("ir_r3_k3_s2_e6_c32",),
            ("ir_r4_k3_s2_e6_c64",),
            ("ir_r3_k3_s1_e6_c96",),
            ("ir_r3_k3_s2_e6_c160",),
            ("ir_r1_k3_s1_e6_c320",),
        ),
        activation="relu6",
        timm_name="mobilenetv2_100",
        normalisation=IMAGENET,
        source="Sandler et al. 2018, arXiv:1801.04381",
    )
)
register_family(
    Family(
        name="mobilenetv3_small",
        stem_channels=16,
        stages=(
            ("ds_r1_k3_s2_e1_c16_se0.25_nre",),
            ("ir_r1_k3_s2_e4.5_c24_nre", "ir_r1_k3_s1_e3.67_c24_nre"),
            ("ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"),
            ("ir_r2_k5_s1_e3_c48_se0.25",),
            ("ir_r3_k5_s2_e6_c96_se0.25",),
        ),
        activation="hard_swish",
        timm_name="tf_mobilenetv3_small_100",
        normalisation=INCEPTION,
        source="Howard et al. 2019, arXiv:1905.02244",
        norm_eps=1e-3,
    )
)
register_family(
    Family(
        name="mobilenetv3_small_minimal",
        stem_channels=16,
        stages=(
            ("ds_r1_k3_s2_e1_c16",),
            ("ir_r1_k3_s2_e4.5_c24", "ir_r1_k3_s1_e3.67_c24"),
            ("ir_r1_k3_s2_e4_c40", "ir_r2_k3_s1_e6_c40"),
            ("ir_r2_k3_s1_e3_c48",),
            ("ir_r3_k3_s2_e6_c96",),
        ),
        activation="relu",
        timm_name="tf_mobilenetv3_small_minimal_100",
        normalisation=INCEPTION,
        source="Howard et al. 2019, arXiv:1905.02244, minimalistic variant",
        norm_eps=1e-3,
    )
)
register_family(
    Family(
        name="mobilenetv3_large",
        stem_channels=16,
        stages=(
            ("ds_r1_k3_s1_e1_c16_nre",),
            ("ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"),
            ("ir_r3_k5_s2_e3_c40_se0.25_nre",),
            ("ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"),
            ("ir_r2_k3_s1_e6_c112_se0.25",),
            ("ir_r3_k5_s2_e6_c160_se0.25",),
        ),
        activation="hard_swish",
        timm_name="tf_mobilenetv3_large_100",
        normalisation=INCEPTION,
        source="Howard et al. 2019, arXiv:1905.02244",
        norm_eps=1e-3,
    )
)
register_family(
    Family(
        name="mobilenetv3_large_minimal",
        stem_channels=16,
        stages=(
            ("ds_r1_k3_s1_e1_c16",),
            ("ir_r1_k3_s2_e4_c24", "ir_r1_k3_s1_e3_c24"),
            ("ir_r3_k3_s2_e3_c40",),
            ("ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"),
            ("ir_r2_k3_s1_e6_c112",),
            ("ir_r3_k3_s2_e6_c160",),
        ),
        activation="relu",
        timm_name="tf_mobilenetv3_large_minimal_100",
        normalisation=INCEPTION,
        source="Howard et al. 2019, arXiv:1905.02244, minimalistic variant",
        norm_eps=1e-3,
    )
)
register_family(
    Family(
        name="efficientnet_lite0",
        stem_channels=32,
        stages=(
            ("ds_r1_k3_s1_e1_c16",),
            ("ir_r2_k3_s2_e6_c24",),
            ("ir_r2_k5_s2_e6_c40",),
            ("ir_r3_k3_s2_e6_c80",),
            ("ir_r3_k5_s1_e6_c112",),
            ("ir_r4_k5_s2_e6_c192",),
            ("ir_r1_k3_s1_e6_c320",),
        ),
        activation="relu6",
        timm_name="tf_efficientnet_lite0",
        normalisation=INCEPTION,
        source="EfficientNet-Lite, github.com/tensorflow/tpu models/official/efficientnet/lite",
        norm_eps=1e-3,
    )
)
register_family(
    Family(
        name="mobilenetv4_conv_small",
        stem_channels=32,
        stages=(
            ("cn_r1_k3_s2_e1_c32", "cn_r1_k1_s1_e1_c32"),
            ("cn_r1_k3_s2_e1_c96", "cn_r1_k1_s1_e1_c64"),
            ("uir_r1_a5_k5_s2_e3_c96", "uir_r4_a0_k3_s1_e2_c96", "uir_r1_a3_k0_s1_e4_c96"),
            (
                "uir_r1_a3_k3_s2_e6_c128",
                "uir_r1_a5_k5_s1_e4_c128",
                "uir_r1_a0_k5_s1_e4_c128",
                "uir_r1_a0_k5_s1_e3_c128",
                "uir_r2_a0_k3_s1_e4_c128",
            ),
        ),
        activation="relu",
        timm_name="mobilenetv4_conv_small",
        normalisation=IMAGENET,
        source="Qin et al. 2024, arXiv:2404.10518",
    )
)
