"""Published networks rebuilt by name from their definitions, as kernels: what anchors are measured on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from nasdepth.errors import TableError
from nasdepth.families import BlockSpec, get_family, round_channels
from nasdepth.kernels.builder import GraphBuilder, Value, window_of
from nasdepth.kernels.kernel import Kernel

# Input sizes of EfficientNet-Lite 0 to 4
_LITE_SIZES = (224, 240, 260, 280, 300)
# Repeats, channels and stride of ResNet-50's stages
_RESNET50 = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_CLASSES, _SSD_CLASSES = 1001, 91
_SSD_EXTRA = (512, 256, 256, 128)


def _blocks(family: str) -> Iterator[BlockSpec]:
    for stage in get_family(family).blocks():
        yield from stage


def _mobilenet_v1(net: GraphBuilder, width: float) -> list[Value]:
    """The features after every block."""
    x, features = net.conv(net.image, _not_rounded(32, width), 3, 2, "relu6"), []
    for block in _blocks("mobilenetv1"):
        x = net.depthwise(x, 3, block.stride, "relu6")
        x = net.conv(x, _not_rounded(block.channels[-1], width), activation="relu6")
        features.append(x)
    return features


def _v1_classifier(net: GraphBuilder, width: float) -> Value:
    return _classifier(net, _pool(net, _mobilenet_v1(net, width)[-1]), _CLASSES)


def _not_rounded(channels: int, width: float) -> int:
    return max(int(channels * width), 8)


def _inverted_residuals(net: GraphBuilder, family: str, width: float) -> tuple[Value, Value]:
    """The last block's output and the expanded features at stride 16, of blocks with ReLU6."""
    x = net.conv(net.image, get_family(family).scaled(32, width), 3, 2, "relu6")
    stride_16 = x
    for block in _blocks(family):
        channels = get_family(family).scaled(block.channels[-1], width)
        expansion, window = int(block.options.get("e", 1)), int(block.options["k"])
        y = net.conv(x, expansion * x.channels, activation="relu6") if expansion > 1 else x
        if block.stride == 2 and y.height == -(-net.image.height // 16):
            stride_16 = y
        y = net.conv(net.depthwise(y, window, block.stride, "relu6"), channels)
        x = net.sum(x, y) if block.stride == 1 and x.channels == channels else y
    return x, stride_16


def _mobilenet_v2(net: GraphBuilder, width: float) -> Value:
    x, _ = _inverted_residuals(net, "mobilenetv2", width)
    x = net.conv(x, round_channels(1280 * max(width, 1.0)), activation="relu6")
    return _classifier(net, _pool(net, x), _CLASSES)


def _efficientnet_lite(net: GraphBuilder, variant: int) -> Value:
    """Stem and head are as wide in every variant."""
    quantised = net.precision != "float32"
    if quantised:
        net.image = net.add("quantize", [net.image], net.image.shape)
    x, _ = _inverted_residuals(net, f"efficientnet_lite{variant}", 1.0)
    x = _pool(net, net.conv(x, 1280, activation="relu6"))
    scores = _classifier(net, x, 1000, dense=True)
    return net.add("dequantize", [scores], scores.shape) if quantised else scores


def _mobilenet_v3(net: GraphBuilder, size: str, minimalistic: bool, width: float) -> Value:
    family = f"mobilenetv3_{size}" + ("_minimal" if minimalistic else "")
    x, _, head = _v3_blocks(net, family, width)
    activation = get_family(family).activation
    x = net.conv(x, head, activation=activation)
    wide = 1280 if size == "large" else 1024
    x = net.conv(_pool(net, x), round_channels(wide * max(width, 1.0)), activation=activation)
    return _classifier(net, x, _CLASSES)


def _v3_blocks(
    net: GraphBuilder, family_name: str, width: float = 1.0, last: float = 1.0
) -> tuple[Value, Value, int]:
    """The last block's output, the expanded features at stride 16, and channels of the convolution behind.

    Args:
        last: factor of the channels of the last stage.
    """
    family = get_family(family_name)
    x = net.conv(net.image, family.scaled(16, width), 3, 2, family.activation)
    stride_16, head = x, 0
    last_stage = family.blocks()[-1]
    for index, block in enumerate(_blocks(family_name)):
        options, in_last = block.options, index >= sum(map(len, family.blocks()[:-1]))
        activation = "relu" if "nre" in options else family.activation
        plain = block.channels[-1] * (last if in_last else 1.0)
        channels, expansion = round_channels(plain * width), options.get("e", 1.0)
        y = x
        if block.kind == "ir":
            y = net.conv(x, round_channels(x.channels * expansion), activation=activation)
        if block.stride == 2 and y.height == -(-net.image.height // 16):
            stride_16 = y
        y = net.depthwise(y, int(options["k"]), block.stride, activation)
        if "se" in options:
            y = _squeeze_excite(net, y, round_channels(y.channels * options["se"]))
        y = net.conv(y, channels)
        x = net.sum(x, y) if block.stride == 1 and x.channels == channels else y
        head = round_channels(plain * width * last_stage[-1].options["e"])
    return x, stride_16, head


def _resnet50(net: GraphBuilder) -> Value:
    """Version 1.5: the stride is in the 3x3 convolution."""
    x = net.max_pool(net.conv(net.image, 64, 7, 2, "relu"), 3, 2)
    for repeats, channels, stride in _RESNET50:
        for index in range(repeats):
            step = 1 if index else stride
            short = x if index else net.conv(x, 4 * channels, 1, step)
            y = net.conv(net.conv(x, channels, activation="relu"), channels, 3, step, "relu")
            x = net.sum(net.conv(y, 4 * channels), short, "relu")
    return _classifier(net, _pool(net, x), _CLASSES, dense=True)


def _ssd(net: GraphBuilder, features: list[Value], *, lite: bool) -> list[Value]:
    """Extra feature maps and the box and class predictors; what sorts the boxes is not among kernels."""
    x = features[-1]
    for channels in _SSD_EXTRA:
        x = net.conv(x, channels // 2, activation="relu6")
        if lite:
            x = net.conv(net.depthwise(x, 3, 2, "relu6"), channels, activation="relu6")
        else:
            x = net.conv(x, channels, 3, 2, "relu6")
        features.append(x)
    outputs = []
    for index, feature in enumerate(features):
        boxes = 6 if index else 3
        for channels in (4 * boxes, _SSD_CLASSES * boxes):
            y = net.depthwise(feature, 3, 1, "relu6") if lite else feature
            outputs.append(net.conv(y, channels))
    return outputs


def _ssd_v1(net: GraphBuilder) -> list[Value]:
    features = _mobilenet_v1(net, 1.0)
    return _ssd(net, [features[10], features[12]], lite=False)


def _ssdlite_v2(net: GraphBuilder) -> list[Value]:
    x, stride_16 = _inverted_residuals(net, "mobilenetv2", 1.0)
    return _ssd(net, [stride_16, net.conv(x, 1280, activation="relu6")], lite=True)


def _ssdlite_v3(net: GraphBuilder, size: str) -> list[Value]:
    """In SSDLite the last stage is half as wide."""
    x, stride_16, head = _v3_blocks(net, f"mobilenetv3_{size}", last=0.5)
    return _ssd(net, [stride_16, net.conv(x, head, activation="hard_swish")], lite=True)


def _pool(net: GraphBuilder, x: Value) -> Value:
    """Average over the image."""
    return net.add("average_pool2d", [x], (1, 1, x.channels), **window_of(x.height, x.width), padding="valid")


def _squeeze_excite(net: GraphBuilder, x: Value, channels: int) -> Value:
    """Pool, two convolutions, hard-sigmoid as ADD with ReLU6 and MUL, and the gate's multiplication."""
    gate = net.conv(net.conv(_pool(net, x), channels, activation="relu"), x.channels)
    gate = net.add("add", [gate], gate.shape, operand="scalar", activation="relu6")
    gate = net.add("mul", [gate], gate.shape, operand="scalar")
    return net.add("mul", [x, gate], x.shape, operand="gate")


def _classifier(net: GraphBuilder, x: Value, classes: int, *, dense: bool = False) -> Value:
    """Scores, as a 1x1 convolution or (`dense`) a fully connected layer, and their softmax."""
    flat = {"out_shape": (1, classes)}
    if dense:
        scores = net.add("fully_connected", [x], (1, 1, classes), **flat)
    else:
        scores = net.add("conv2d", [x], (1, 1, classes), padding="same")
        scores = net.add("reshape", [scores], (1, 1, classes), **flat)
    return net.add("softmax", [scores], (1, 1, classes), in_shape=(1, classes), **flat)


# pattern of the name, its family, (default size, builder) of what the pattern found
_MODELS: tuple[tuple[str, str, Callable], ...] = (
    (
        r"mobilenet-v1-(?P<width>[\d.]+)-(?P<size>\d+)",
        "mobilenet-v1",
        lambda found: (int(found["size"]), lambda net: _v1_classifier(net, float(found["width"]))),
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
            int(found["size"] or _LITE_SIZES[int(found["variant"])]),
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
    net = GraphBuilder(size, size, precision)
    outputs = build(net)
    return net.kernels(outputs if isinstance(outputs, list) else [outputs], runtime)


def _find(name: str) -> tuple[str, tuple[int, Callable]] | None:
    spelt = re.sub(r"[ _]+", "-", name.strip().lower()).replace("mobilenetv", "mobilenet-v")
    for pattern, family, make in _MODELS:
        if match := re.fullmatch(pattern, spelt):
            return family, make(match.groupdict())
    return None
