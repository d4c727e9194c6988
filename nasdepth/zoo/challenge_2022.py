"""Entries of the Mobile AI 2022 single-image depth challenge."""

from nasdepth.zoo.design import MAI2022, Design, Published

_BY_TIME = (
    "Chosen so that its predicted time on the Pi 4 was to LiteDepth's as the published ones are, as no size "
    "is published: that this estimate agrees confirms nothing."
)

DESIGNS = (
    Design(
        name="litedepth",
        text=(
            "128x160,mobilenetv3_small_minimal@1:5,none-conv-k1-w72,concat-conv-k1-w24,concat-conv-k1-w8,"
            "concat-conv-k3-w24,up-bilinear-nearest"
        ),
        source="Li et al. 2022, arXiv:2209.00961; the authors' code, github.com/zhyever/LiteDepth",
        widths=(
            "All published: tf_mobilenetv3_small_minimal_100 without its head convolution, features 16, 24, "
            "48 and 96 at strides 4 to 32, decoder 72, 24 and 8, a 3x3 convolution to 24 and a 1x1 at stride "
            "4 (configs_baseline/convert.py), nearest to 480x640."
        ),
        stands_for=(
            "Resizing with half-pixel centres stands for align_corners; the 3x3 convolution has batch norm."
        ),
        recipes=("litedepth",),
        published=Published(size_mb=1.4, pi4_ms=37, si_rmse=0.311, score=232.04),
    ),
    Design(
        name="litedepth-final",
        text=(
            "128x160,mobilenetv3_small_minimal@1:5,none-conv-k1-w72,concat-conv-k1-w24,concat-conv-k1-w8,"
            "concat-conv-k3-w24,up-bilinear-nearest,reparam-rep"
        ),
        source="Li et al. 2022, arXiv:2209.00961; the authors' code, github.com/zhyever/LiteDepth",
        widths=(
            "As litedepth: what was handed in is that graph, trained longer and distilled. Here the decoder "
            "also trains as parallel branches, after the switch `dbb_block` of the authors' decoder head; "
            "the deployed graph is litedepth's."
        ),
        stands_for="RepVGG's branches stand for diverse branch blocks.",
        recipes=("litedepth",),
        published=Published(size_mb=1.4, pi4_ms=37, si_rmse=0.311, score=232.04),
    ),
    Design(
        name="tcl2022",
        text=(
            "128x160,mobilenetv3_small@1:4,none-conv-k1-w64,concat-conv-k3-w32,concat-conv-k3-w16,"
            "up-nearest-nearest,reparam-linear"
        ),
        source=f"TCL, {MAI2022}; recalled, not checked",
        widths=(
            "Recalled: 128x160, MobileNetV3 without its blocks of the lowest resolution, collapsible linear "
            "blocks. Which MobileNetV3, and the decoder, are open. " + _BY_TIME
        ),
        stands_for="A prediction of 32x40 (stride 4) stands for one of 48x64, which no stride of 128x160 is.",
        published=Published(pi4_ms=46, si_rmse=0.277, score=297.79),
        sized_by_time=True,
    ),
    Design(
        name="miaigo2022",
        text=(
            "96x128,ghostnet@0.7:7,none-conv-k1-w64-ca,concat-ffm-k3-w48,concat-ffm-k3-w32,"
            "concat-ffm-k3-w16,up-nearest-nearest"
        ),
        source=f"MiAIgo (ChaoMI), {MAI2022}; recalled, not checked",
        widths=(
            "Recalled: 96x128, a thinned GhostNet with coordinate attention, three FFMs, a prediction of "
            "48x64. Widths are open. " + _BY_TIME
        ),
        stands_for="Coordinate attention stands behind the encoder, not in its blocks.",
        published=Published(pi4_ms=54, si_rmse=0.299, score=187.77),
        sized_by_time=True,
    ),
    Design(
        name="smartlab2022",
        text=(
            "96x128,efficientnet_lite0@1:7,none-conv-k1-w128,concat-dsconv-k3-w64,concat-dsconv-k3-w32,"
            "concat-dsconv-k3-w16,up-nearest-nearest"
        ),
        source=f"SmartLab (RocheL), {MAI2022}; recalled, not checked",
        widths="Recalled: EfficientNet-Lite0. Input and decoder are open. " + _BY_TIME,
        published=Published(pi4_ms=65, si_rmse=0.329, score=102.07),
        sized_by_time=True,
    ),
)
