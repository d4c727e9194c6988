"""Entries of the Mobile AI 2021 single-image depth challenge."""

from nasdepth.zoo.design import MAI2021, Design, Published

_BY_SIZE = "chosen so that the file has the published size"

DESIGNS = (
    Design(
        name="gylab2021",
        text=(
            "128x160,mobilenetv3_small@1:5,none-conv-k1-w48,concat-ffm-k3-w32,concat-ffm-k3-w24,"
            "concat-ffm-k3-w16,concat-ffm-k3-w16,up-nearest-nearest"
        ),
        source=f"Tencent GY-Lab, {MAI2021}",
        widths=(
            "Published: 128x160, the five blocks of MobileNetV3, a feature fusion module a level, nearest "
            f"on top. MobileNetV3-Small and the decoder's widths are {_BY_SIZE}: the small encoder alone is "
            "3.3 MB."
        ),
        recipes=("gylab",),
        published=Published(
            size_mb=3.4, pi4_ms=97, adreno640_ms=5.7, on_gpu=True, si_rmse=0.2836, score=129.41
        ),
    ),
    Design(
        name="fastdepth",
        text=(
            "480x640,mobilenetv1@1:5,none-dsconv-k5-w512,none-dsconv-k5-w256,add-dsconv-k5-w128,"
            "add-dsconv-k5-w64,add-dsconv-k5-w32,up-bilinear-bilinear"
        ),
        source=f"SMART, {MAI2021}; Wofk et al. 2019, FastDepth, arXiv:1903.03273",
        widths=(
            "All published: MobileNetV1, five NNConv5 to 512, 256, 128, 64 and 32, additive skips at strides "
            "8, 4 and 2, a 1x1 convolution to 1, and bilinear upsampling (SMART's figure 3; FastDepth's own "
            "is nearest)."
        ),
        stands_for=(
            "The last doubling comes after the 1x1 convolution, with which it commutes: the same function at "
            "a quarter of its cost, but for the ReLU, which now comes before it."
        ),
        recipes=("smart",),
        published=Published(
            size_mb=15.0, pi4_ms=1197, adreno640_ms=60, on_gpu=True, si_rmse=0.2602, score=14.51
        ),
    ),
    Design(
        name="fastdepth-pruned",
        text=(
            "480x640,mobilenetv1@0.58:5,none-dsconv-k5-w304,none-dsconv-k5-w152,add-dsconv-k5-w72,"
            "add-dsconv-k5-w40,add-dsconv-k5-w16,up-nearest-nearest"
        ),
        source="Wofk et al. 2019, FastDepth, arXiv:1903.03273, after NetAdapt",
        widths=(
            "Published: 1.34 M weights of fastdepth's 3.93 M are left (recalled). NetAdapt's own widths "
            "are in a checkpoint only; here all are multiplied alike, to meet that number."
        ),
        stands_for=(
            "Upsampling is nearest, as in FastDepth. The last doubling comes after the 1x1 convolution, with "
            "which it commutes."
        ),
        published=Published(parameters_m=1.34),
    ),
    Design(
        name="airia",
        text=(
            "480x640,mobilenetv3_small@1:5,none-rfdb-k3-w560,concat-rfdb-k3-w288,concat-rfdb-k3-w128,"
            "concat-conv-k3-w64,concat-conv-k3-w32,up-bilinear-bilinear"
        ),
        source=f"Airia-Team1, {MAI2021}; RFDN, arXiv:2009.11551",
        widths=(
            "Published: full resolution, MobileNetV3-Small (appendix A), three RFDB blocks, five decoder "
            "layers. The encoder is 3.3 MB; the decoder's widths, which give the rest, are "
            f"{_BY_SIZE}."
        ),
        stands_for=(
            "A decoder stage is one block: the three RFDB stand at strides 32, 16 and 8 of the five "
            "layers, not in a row before them."
        ),
        recipes=("airia",),
        published=Published(
            size_mb=64.9, pi4_ms=1933, adreno640_ms=321, on_gpu=False, si_rmse=0.2408, score=11.75
        ),
    ),
    Design(
        name="ytl",
        text=(
            "256x320xy,resnet18@1:4,none-conv-k1-w512,concat-doubleconv-k3-w256,concat-doubleconv-k3-w128,"
            "concat-doubleconv-k3-w64,concat-doubleconv-k3-w64,up-bilinear-bilinear"
        ),
        source=f"YTL, {MAI2021}",
        widths=(
            "Published: 240x320 with the pixels' x and y as two more channels, ResNet-18, a U-Net decoder, "
            "bilinear x2 on top. The decoder has the encoder's own widths, which gives the published size."
        ),
        stands_for="256x320 stands for 240x320, as 240 is no multiple of 32: 7 % more pixels.",
        recipes=("ytl",),
        published=Published(
            size_mb=56.2, pi4_ms=1275, adreno640_ms=70, on_gpu=True, si_rmse=0.2902, score=8.98
        ),
    ),
    Design(
        name="pydnet",
        text=(
            "256x256,mobilenetv2@1:7,none-pydnet-k3-w8,concat-pydnet-k3-w8,concat-pydnet-k3-w8,"
            "concat-pydnet-k3-w8,concat-pydnet-k3-w8,up-nearest-bilinear"
        ),
        source=f"CFL2, {MAI2021}; Poggi et al. 2018, PyDNet, arXiv:1806.11430",
        widths=(
            "All published: 256x256, MobileNetV2, estimators of 96, 64, 32 and 8, only the highest scale "
            "kept, 128x128 (stride 2), bilinear on top. The report's table says 772 ms on the Pi 4; its "
            "score fits the 2531 ms of SMART's table."
        ),
        stands_for="Nearest upsampling stands for the transposed convolutions between estimators.",
        recipes=("cfl2",),
        published=Published(
            size_mb=9.6, pi4_ms=2531, adreno640_ms=179, on_gpu=False, si_rmse=0.2761, score=5.5
        ),
    ),
    Design(
        name="hit-aiia",
        text=(
            "480x640,efficientnet_b1@1:7,none-conv-k1-w960-nonlocal,concat-lrconv-k3-w480,"
            "concat-lrconv-k3-w240,concat-lrconv-k3-w120,concat-lrconv-k3-w64,up-bilinear-bilinear"
        ),
        source=f"HIT-AIIA, {MAI2021}; Non-Local, arXiv:1711.07971",
        widths=(
            "Published: full resolution, EfficientNet-B1, a Non-Local block behind it, bilinear upsampling "
            f"and convolutions with LeakyReLU. The decoder halves its widths; the first is {_BY_SIZE}."
        ),
        recipes=("hit-aiia",),
        published=Published(
            size_mb=56.0, pi4_ms=6146, adreno640_ms=175, on_gpu=True, si_rmse=0.2332, score=4.11
        ),
    ),
    Design(
        name="weichi",
        text=(
            "480x640,unet@0.12:4,none-conv-k1-w64,concat-doubleconv-k3-w32,concat-doubleconv-k3-w16,"
            "concat-doubleconv-k3-w8,up-nearest-nearest"
        ),
        source=f"Weichi, {MAI2021}; U-Net, arXiv:1505.04597",
        widths=(
            "Published: full resolution, U-Net with channels divided by eight and batch norm. Its four "
            "levels of 8 to 64 are 0.5 MB, the fifth would make it 1.9."
        ),
        stands_for="Nearest upsampling and a 1x1 convolution stand for transposed convolutions.",
        recipes=("weichi",),
        published=Published(
            size_mb=0.5, pi4_ms=582, adreno640_ms=11, on_gpu=True, si_rmse=0.4659, score=1.72
        ),
    ),
    Design(
        name="monovision",
        text=(
            "480x640,efficientnet_es@1:6,none-lrconv-k1-w64,lrgate-lrconv-k3-w32,lrgate-lrconv-k3-w16,"
            "lrgate-lrconv-k3-w16,lrgate-lrconv-k3-w16,up-nearest-nearest"
        ),
        source=f"MonoVision Palace, {MAI2021}; Attention U-Net, arXiv:1804.03999",
        widths=(
            "Published: full resolution, EfficientNet-EdgeTPU-S without hard-swish and squeeze-and-excite, "
            f"gated attention with LeakyReLU and hard sigmoid. The decoder's widths are {_BY_SIZE}, of "
            "which the encoder leaves little."
        ),
        recipes=("monovision",),
        published=Published(
            size_mb=15.3, pi4_ms=3466, adreno640_ms=128, on_gpu=True, si_rmse=0.3543, score=1.36
        ),
    ),
    Design(
        name="bts",
        text=(
            "480x640,resnet18@1.75:4,none-conv-k3-w512,concat-conv-k3-w512,concat-aspp-k3-w128,"
            "concat-conv-k3-w128,concat-conv-k3-w64,up-nearest-lpg"
        ),
        source=f"3dv oppo, {MAI2021}; Lee et al. 2019, BTS, arXiv:1907.10326",
        widths=(
            "Published: full resolution, a ResNet, dense ASPP of dilations 3 to 24 at stride 8, local planar "
            f"guidance from strides 8, 4 and 2. The ResNet is open: a ResNet-18 of width 1.75 is {_BY_SIZE}."
        ),
        recipes=("bts",),
        published=Published(
            size_mb=187, pi4_ms=26494, adreno640_ms=4346, on_gpu=False, si_rmse=0.2678, score=0.59
        ),
    ),
    Design(
        name="mega-unet",
        text=(
            "256x320,unet@1:5,none-conv-k1-w512,concat-doubleconv-k3-w512,concat-doubleconv-k3-w256,"
            "concat-doubleconv-k3-w128,concat-doubleconv-k3-w64,up-nearest-nearest"
        ),
        source=f"MegaUe, {MAI2021}; U-Net, arXiv:1505.04597",
        widths="Published: half resolution, U-Net (64 to 1024), x2 upsampling on top.",
        stands_for=(
            "256x320 stands for 240x320, as 240 is no multiple of 32; nearest upsampling and a 1x1 "
            "convolution stand for transposed convolutions."
        ),
        recipes=("megaue",),
        published=Published(
            size_mb=118, pi4_ms=9392, adreno640_ms=288, on_gpu=True, si_rmse=0.3737, score=0.38
        ),
    ),
)
