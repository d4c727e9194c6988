"""Published networks rebuilt by name from their definitions, as kernels: what anchors are measured on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache

from nasdepth.errors import TableError
from nasdepth.families import round_channels
from nasdepth.kernels.kernel import Kernel
from nasdepth.packs._layers import Layers, Value

# (repeats, kernel, stride, expansion, channels)
_MOBILENET_V1 = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512),) * 5,
    *((2, 1024), (1, 1024)),
)
_MOBILENET_V2 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (3, 3, 2, 6, 32),
    (4, 3, 2, 6, 64),
    (3, 3, 1, 6, 96),
    (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320),
)
_LITE = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# width, depth, input size
_LITE_SCALES = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))
# (kernel, expanded channels, channels, squeeze-and-excite, hard-swish, stride)
_V3_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    *((5, 120, 40, True, False, 1),) * 2,
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    *((3, 184, 80, False, True, 1),) * 2,
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    *((5, 960, 160, True, True, 1),) * 2,
)
_V3_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    *((5, 240, 40, True, True, 1),) * 2,
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    *((5, 576, 96, True, True, 1),) * 2,
)
# In SSDLite the last three blocks are half as wide
_V3_SSD = {
    "large": (*_V3_LARGE[:12], (5, 672, 80, True, True, 2), *((5, 480, 80, True, True, 1),) * 2),
    "small": (*_V3_SMALL[:8], (5, 288, 48, True, True, 2), *((5, 288, 48, True, True, 1),) * 2),
}
_RESNET50 = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_CLASSES, _SSD_CLASSES = 1001, 91


def _mobilenet_v1(net: Layers, width: float) -> Value:
    x = net.conv(net.image, _plain(32, width), 3, 2, "relu6")
    for stride, channels in _MOBILENET_V1:
        x = net.conv(net.depthwise(x, 3, stride, "relu6"), _plain(channels, width), activation="relu6")
    return net.classifier(net.pool(x), _CLASSES)


def _plain(channels: int, width: float) -> int:
    return max(int(channels * width), 8)


def _mobilenet_v2(net: Layers, width: float) -> Value:
    x = net.conv(net.image, round_channels(32 * width), 3, 2, "relu6")
    for row in _MOBILENET_V2:
        x = _inverted(net, x, *row[:4], round_channels(row[4] * width), "relu6")
    x = net.conv(x, round_channels(1280 * max(width, 1.0)), activation="relu6")
    return net.classifier(net.pool(x), _CLASSES)


def _inverted(net: Layers, x: Value, repeats, window, stride, expansion, channels, activation) -> Value:
    for index in range(repeats):
        step = 1 if index else stride
        y = net.conv(x, expansion * x.channels, activation=activation) if expansion > 1 else x
        y = net.conv(net.depthwise(y, window, step, activation), channels)
        x = net.add(x, y) if step == 1 and x.channels == channels else y
    return x


def _efficientnet_lite(net: Layers, variant: int) -> Value:
    width, depth, _ = _LITE_SCALES[variant]
    image = net.convert("quantize", net.image) if net.precision != "float32" else net.image
    x = net.conv(image, 32, 3, 2, "relu6")  # stem and head are as wide in every variant
    for index, (repeats, window, stride, expansion, channels) in enumerate(_LITE):
        if 0 < index < len(_LITE) - 1:
            repeats = math.ceil(repeats * depth)
        x = _inverted(net, x, repeats, window, stride, expansion, round_channels(channels * width), "relu6")
    scores = net.classifier(net.pool(net.conv(x, 1280, activation="relu6")), 1000, dense=True)
    return net.convert("dequantize", scores) if net.precision != "float32" else scores


def _mobilenet_v3(net: Layers, size: str, minimalistic: bool, width: float) -> Value:
    rows = _V3_LARGE if size == "large" else _V3_SMALL
    x, _ = _v3_blocks(net, rows, minimalistic, width)
    swish = "relu" if minimalistic else "hard_swish"
    x = net.conv(x, round_channels(width * rows[-1][1]), activation=swish)
    wide = 1280 if size == "large" else 1024
    x = net.conv(net.pool(x), round_channels(wide * max(width, 1.0)), activation=swish)
    return net.classifier(x, _CLASSES)


def _v3_blocks(net: Layers, rows, minimalistic: bool, width: float) -> tuple[Value, Value]:
    """The last block's output, and the expanded features at stride 16."""
    swish = "relu" if minimalistic else "hard_swish"
    x = net.conv(net.image, round_channels(16 * width), 3, 2, swish)
    before, stride_16 = 16, x
    for window, expanded, channels, excite, swished, stride in rows:
        activation = swish if swished else "relu"
        window = 3 if minimalistic else window
        out, inner = round_channels(channels * width), round_channels(x.channels * expanded / before)
        y = net.conv(x, inner, activation=activation) if expanded != before else x
        if stride == 2 and y.height == -(-net.image.height // 16):
            stride_16 = y
        y = net.depthwise(y, window, stride, activation)
        if excite and not minimalistic:
            y = net.squeeze_excite(y, round_channels(y.channels / 4))
        y = net.conv(y, out)
        x = net.add(x, y) if stride == 1 and x.channels == out else y
        before = channels
    return x, stride_16


def _resnet50(net: Layers) -> Value:
    """Version 1.5: the stride is in the 3x3 convolution."""
    x = net.max_pool(net.conv(net.image, 64, 7, 2, "relu"), 3, 2)
    for repeats, channels, stride in _RESNET50:
        for index in range(repeats):
            step = 1 if index else stride
            short = x if index else net.conv(x, 4 * channels, 1, step)
            y = net.conv(net.conv(x, channels, activation="relu"), channels, 3, step, "relu")
            x = net.add(net.conv(y, 4 * channels), short, "relu")
    return net.classifier(net.pool(x), _CLASSES, dense=True)


def _ssd(
    net: Layers, features: list[Value], extra: tuple[int, ...], activation: str, lite: bool
) -> list[Value]:
    """Extra feature maps and the box and class predictors; what sorts the boxes is not among kernels."""
    x = features[-1]
    for channels in extra:
        x = net.conv(x, channels // 2, activation=activation)
        if lite:
            x = net.conv(net.depthwise(x, 3, 2, activation), channels, activation=activation)
        else:
            x = net.conv(x, channels, 3, 2, activation)
        features.append(x)
    outputs = []
    for index, feature in enumerate(features):
        boxes = 6 if index else 3
        for channels in (4 * boxes, _SSD_CLASSES * boxes):
            y = net.depthwise(feature, 3, 1, activation) if lite else feature
            outputs.append(net.conv(y, channels))
    return outputs


def _ssd_v1(net: Layers) -> list[Value]:
    x, features = net.conv(net.image, 32, 3, 2, "relu6"), []
    for index, (stride, channels) in enumerate(_MOBILENET_V1):
        x = net.conv(net.depthwise(x, 3, stride, "relu6"), channels, activation="relu6")
        if index in (10, 12):
            features.append(x)
    return _ssd(net, features, (512, 256, 256, 128), "relu6", lite=False)


def _ssdlite_v2(net: Layers) -> list[Value]:
    x, features = net.conv(net.image, 32, 3, 2, "relu6"), []
    for repeats, window, stride, expansion, channels in _MOBILENET_V2:
        for index in range(repeats):
            step = 1 if index else stride
            y = net.conv(x, expansion * x.channels, activation="relu6") if expansion > 1 else x
            if step == 2 and y.channels == 6 * 96:
                features.append(y)
            y = net.conv(net.depthwise(y, window, step, "relu6"), channels)
            x = net.add(x, y) if step == 1 and x.channels == channels else y
    features.append(net.conv(x, 1280, activation="relu6"))
    return _ssd(net, features, (512, 256, 256, 128), "relu6", lite=True)


def _ssdlite_v3(net: Layers, size: str) -> list[Value]:
    rows = _V3_SSD[size]
    x, stride_16 = _v3_blocks(net, rows, False, 1.0)
    last = net.conv(x, rows[-1][1], activation="hard_swish")
    return _ssd(net, [stride_16, last], (512, 256, 256, 128), "relu6", lite=True)


# pattern of the name, its family, (default size, builder) of what the pattern found
_MODELS: tuple[tuple[str, str, Callable], ...] = (
    (
        r"mobilenet-v1-(?P<width>[\d.]+)-(?P<size>\d+)",
        "mobilenet-v1",
        lambda found: (int(found["size"]), lambda net: _mobilenet_v1(net, float(found["width"]))),
    ),
    (
        r"mobilenet-v2-(?P<width>[\d.]+)-(?P<size>\d+)",
        "mobilenet-v2",
        lambda found: (int(found["size"]), lambda net: _mobilenet_v2(net, float(found["width"]))),
    ),
    (
        r"mobilenet-v3-(?P<kind>large|small)(?P<minimal>-minimalistic)?-(?P<size>\d+)(?:-(?P<width>[\d.]+))?",
        "mobilenet-v3",
        lambda found: (
            int(found["size"]),
            lambda net: _mobilenet_v3(
                net, found["kind"], bool(found["minimal"]), float(found["width"] or 1.0)
            ),
        ),
    ),
    (
        r"efficientnet-lite(?P<variant>[0-4])(?:-(?P<size>\d+))?",
        "efficientnet-lite",
        lambda found: (
            int(found["size"] or _LITE_SCALES[int(found["variant"])][2]),
            lambda net: _efficientnet_lite(net, int(found["variant"])),
        ),
    ),
    (r"resnet50(?:-(?P<size>\d+))?", "resnet", lambda found: (int(found["size"] or 224), _resnet50)),
    (r"ssd-mobilenet(?:-v1)?(?:-(?P<size>\d+))?", "ssd", lambda found: (int(found["size"] or 300), _ssd_v1)),
    (
        r"ssdlite-mobilenet-v2(?:-(?P<size>\d+))?",
        "ssd",
        lambda found: (int(found["size"] or 300), _ssdlite_v2),
    ),
    (
        r"ssdlite-mobilenet-v3-(?P<kind>large|small)(?:-(?P<size>\d+))?",
        "ssd",
        lambda found: (int(found["size"] or 320), lambda net: _ssdlite_v3(net, found["kind"])),
    ),
)
EXAMPLES = (
    "mobilenet-v1-0.5-160",
    "mobilenet-v2-1.0-224",
    "mobilenet-v3-large_224_1.0",
    "mobilenet-v3-small-minimalistic_224_1.0",
    "efficientnet-lite0",
    "resnet50",
    "ssdlite-mobilenet-v2-300",
)


def family_of(name: str) -> str | None:
    """The family of a published network (`mobilenet-v2`), None where the name is of none."""
    found = _find(name)
    return found and found[0]


@lru_cache(maxsize=4096)
def public_kernels(name: str, runtime: str = "tflite", precision: str = "float32") -> tuple[Kernel, ...]:
    """The kernels of a published network.

    MobileNet v1 (Howard et al. 2017, arXiv:1704.04861), v2 (Sandler et al. 2018, arXiv:1801.04381), v3 with
    its minimalistic variants (Howard et al. 2019, arXiv:1905.02244), EfficientNet-Lite
    (github.com/tensorflow/tpu, models/official/efficientnet/lite), ResNet-50 v1.5 (He et al. 2015,
    arXiv:1512.03385, stride in the 3x3), and SSD and SSDLite on them (TensorFlow's object detection models;
    without what sorts boxes).

    Args:
        name: with width and input size, such as `mobilenet-v2-0.5-160`; underscores, spaces and capitals do
            not matter.
        runtime: `xnnpack`, `tflite` or `gpu`.
        precision: float32 or int8.

    Raises:
        TableError: no such network; the message has examples.
    """
    found = _find(name)
    if found is None:
        raise TableError(f"{name!r} is no published network; such are {', '.join(EXAMPLES)}")
    size, build = found[1]
    net = Layers(size, size, precision)
    outputs = build(net)
    return net.kernels(outputs if isinstance(outputs, list) else [outputs], runtime)


def _find(name: str) -> tuple[str, tuple[int, Callable]] | None:
    spelt = re.sub(r"[ _]+", "-", name.strip().lower()).replace("mobilenetv", "mobilenet-v")
    for pattern, family, make in _MODELS:
        if match := re.fullmatch(pattern, spelt):
            return family, make(match.groupdict())
    return None
