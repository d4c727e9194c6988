"""Families whose blocks are not EfficientNet's."""

from nasdepth.families._family import IMAGENET, Excite, Family


def _ghost(kind: str, rows: tuple[tuple[tuple[int, ...], ...], ...], attention_from: int = 1000) -> tuple:
    """Stages from (kernel, channels inside, channels out, excitation, stride) of every block."""
    stages, index = [], 0
    for stage in rows:
        blocks = []
        for kernel, inside, out, excite, stride in stage:
            marks = ("_se0.25" if excite else "") + ("_dfc" if index >= attention_from else "")
            blocks.append(f"{kind}_k{kernel}_s{stride}_t{inside}_c{out}{marks}")
            index += 1
        stages.append(tuple(blocks))
    return tuple(stages)


_GHOSTNET = (
    ((3, 16, 16, 0, 1),),
    ((3, 48, 24, 0, 2),),
    ((3, 72, 24, 0, 1),),
    ((5, 72, 40, 1, 2),),
    ((5, 120, 40, 1, 1),),
    ((3, 240, 80, 0, 2),),
    ((3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 1, 1), (3, 672, 112, 1, 1)),
    ((5, 672, 160, 1, 2),),
    ((5, 960, 160, 0, 1), (5, 960, 160, 1, 1), (5, 960, 160, 0, 1), (5, 960, 160, 1, 1)),
)
_REPGHOSTNET = (
    ((3, 8, 16, 0, 1),),
    ((3, 24, 24, 0, 2),),
    ((3, 36, 24, 0, 1),),
    ((5, 36, 40, 1, 2),),
    ((5, 60, 40, 1, 1),),
    ((3, 120, 80, 0, 2),),
    ((3, 100, 80, 0, 1), (3, 120, 80, 0, 1), (3, 120, 80, 0, 1), (3, 240, 112, 1, 1), (3, 336, 112, 1, 1)),
    ((5, 336, 160, 1, 2),),
    ((5, 480, 160, 0, 1), (5, 480, 160, 1, 1), (5, 480, 160, 0, 1), (5, 480, 160, 1, 1)),
)


def _one(blocks: int, in_channels: int, out_channels: int) -> tuple[str, ...]:
    """A MobileOne stage: pairs of a depthwise and a 1x1 convolution, four branches each."""
    rest = (f"onedw_k3_b4_c{out_channels}", f"onepw_b4_c{out_channels}") * (blocks - 1)
    return (f"onedw_k3_s2_b4_c{in_channels}", f"onepw_b4_c{out_channels}", *rest)


FAMILIES = (
    Family(
        name="resnet18",
        stem_channels=64,
        stem_kernel=7,
        stages=(
            ("basic_r2_s2_pool_c64",),
            ("basic_r2_s2_c128",),
            ("basic_r2_s2_c256",),
            ("basic_r2_s2_c512",),
        ),
        activation="relu",
        timm_name="resnet18",
        normalisation=IMAGENET,
        source="He et al. 2015, arXiv:1512.03385",
        timm_prefixes=(
            ("conv1.", "conv_stem."),
            *((f"layer{index + 1}.", f"blocks.{index}.") for index in range(4)),
        ),
    ),
    Family(
        name="resnet50",
        stem_channels=64,
        stem_kernel=7,
        stages=(
            ("bottle_r3_s2_pool_t64_c256",),
            ("bottle_r4_s2_t128_c512",),
            ("bottle_r6_s2_t256_c1024",),
            ("bottle_r3_s2_t512_c2048",),
        ),
        activation="relu",
        timm_name="resnet50",
        normalisation=IMAGENET,
        source="He et al. 2015, arXiv:1512.03385, with the stride in the 3x3 convolution",
        timm_prefixes=(
            ("conv1.", "conv_stem."),
            *((f"layer{index + 1}.", f"blocks.{index}.") for index in range(4)),
        ),
    ),
    Family(
        name="mobileone_s0",
        stem_channels=48,
        stem_branches=True,
        stages=(_one(2, 48, 48), _one(8, 48, 128), _one(10, 128, 256), _one(1, 256, 1024)),
        activation="relu",
        timm_name="mobileone_s0",
        normalisation=IMAGENET,
        source="Vasu et al. 2022, arXiv:2206.04040",
        timm_prefixes=(("stages.", "blocks."),),
    ),
    Family(
        name="ghostnet",
        stem_channels=16,
        stages=_ghost("ghost", _GHOSTNET),
        activation="relu",
        timm_name="ghostnet_100",
        normalisation=IMAGENET,
        source="Han et al. 2019, arXiv:1911.11907",
        divisor=4,
        excite=Excite(divisor=4),
    ),
    Family(
        name="ghostnetv2",
        stem_channels=16,
        stages=_ghost("ghost", _GHOSTNET, attention_from=2),
        activation="relu",
        timm_name="ghostnetv2_100",
        normalisation=IMAGENET,
        source="Tang et al. 2022, arXiv:2211.12905",
        divisor=4,
        excite=Excite(divisor=4),
    ),
    Family(
        name="repghostnet",
        stem_channels=16,
        stages=_ghost("repghost", _REPGHOSTNET),
        activation="relu",
        timm_name="repghostnet_100",
        normalisation=IMAGENET,
        source="Chen et al. 2022, arXiv:2211.06088",
        divisor=4,
        excite=Excite(divisor=4),
    ),
    Family(
        name="unet",
        stem_channels=64,
        stem_stride=1,
        # the stem is the first convolution of the first pair
        stages=(
            ("cn_r1_k3_s1_c64",),
            ("double_s2_c128",),
            ("double_s2_c256",),
            ("double_s2_c512",),
            ("double_s2_c1024",),
        ),
        activation="relu",
        timm_name=None,
        normalisation=IMAGENET,
        source="Ronneberger et al. 2015, arXiv:1505.04597, with batch norms and padded convolutions",
    ),
)
