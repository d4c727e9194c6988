"""Kernels of an architecture, put together from its pieces without building the network."""

from __future__ import annotations

from functools import lru_cache

from nasdepth.architecture import GUIDED_STRIDES, JOINING, OUTPUT_HW, Architecture
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.families import get_family
from nasdepth.kernels.graph import Node, pads_of
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.precision import Ends, Precision, int8_kernels
from nasdepth.kernels.rules import CONVERSION
from nasdepth.latency.extract.network_pieces import (
    Attention,
    DecoderBlock,
    EncoderBlock,
    GuidedHead,
    Head,
    Merge,
    Piece,
    Plane,
    Resize,
    Stem,
    UpsamplingStage,
)
from nasdepth.latency.extract.symbolic_trace import run_linked


@lru_cache(maxsize=65536)
def architecture_kernels(
    architecture: Architecture,
    runtime: str = "xnnpack",
    precision: Precision = "float32",
    ends: Ends = "uint8",
) -> tuple[Kernel, ...]:
    """The kernels that an architecture runs when it is deployed, in order.

    They equal `module_kernels(DepthNet(architecture))`, which takes twenty times as long, and those of the
    exported file.

    Args:
        architecture: of the network.
        runtime: `xnnpack`, `tflite` (no delegate) or `gpu`.
        precision: of the file; half precision is computed in float32.
        ends: what an int8 file takes.

    Raises:
        UnknownKernelError: it uses an operation that has no kernel, or int8 on a GPU is asked for.
    """
    if precision != "int8":
        network = _Composer(runtime)
        network.add_network(architecture)
        return tuple(node.kernel for node in network.nodes)
    network = _Composer(CONVERSION)
    depth = network.add_network(architecture)
    return int8_kernels(network.nodes, network.image, [depth], runtime, ends)


def encoder_kernels(architecture: Architecture, runtime: str = "xnnpack") -> list[Kernel]:
    """Those of `architecture_kernels` that the encoder runs, in order."""
    network = _Composer(runtime)
    network.add_encoder(architecture, network.image)
    return [node.kernel for node in network.nodes]


class _Composer:
    """A network put together from the kernels of its pieces.

    Attributes:
        nodes: so far.
        image: number of the value that enters.
    """

    image = 1

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._count = self.image
        self.nodes: list[Node] = []

    def add(self, piece: Piece, channels: tuple[int, ...], hw: tuple[int, int], *inputs: int) -> int:
        """Append a piece that reads values; returns the value that it gives."""
        linked = run_linked(piece, channels, hw, self._runtime)
        numbers = dict(enumerate(inputs, 1))
        before = None
        for kernel, (reads, writes) in zip(linked.kernels, linked.links, strict=True):
            # a batch normalisation of its own is a multiplication and an addition that are linked alike
            sources = (numbers[writes],) if writes == before else tuple(numbers[one] for one in reads)
            self._count += 1
            self.nodes.append(Node(kernel, sources, self._count, pads_of(kernel)))
            numbers[writes], before = self._count, writes
        return numbers[linked.output]

    def add_network(self, architecture: Architecture) -> int:
        """Append a whole network; returns the depth."""
        strides = architecture.decoder_strides
        hw = (architecture.input_height, architecture.input_width)
        at = {stride: (hw[0] // stride, hw[1] // stride) for stride in strides}
        channels = architecture.encoder.channels
        encoded = self.add_encoder(architecture, self.add(Resize(hw), (), OUTPUT_HW, self.image))

        width, x = channels[architecture.encoder.stride], encoded[architecture.encoder.stride]
        upsampling = architecture.decoder_upsampling
        decoded = {}
        for index, (stride, stage) in enumerate(zip(strides, architecture.decoder, strict=True)):
            has_skip = stage.skip != "none"
            skip, skipped = ((channels[stride],), (encoded[stride],)) if has_skip else ((), ())
            if BLOCKS[stage.block].upsamples:
                piece = UpsamplingStage(stage.block, stage.kernel, stage.skip, upsampling)
                x = self.add(piece, (width, stage.width, *skip), at[2 * stride], x, *skipped)
            else:
                if index:
                    x = self.add(Merge(stage.skip, upsampling), (width, *skip), at[2 * stride], x, *skipped)
                    width += sum(skip) if stage.skip in JOINING else 0
                block = DecoderBlock(stage.block, stage.kernel)
                x = self.add(block, (width, stage.width), at[stride], x)
            width = stage.width
            if stage.attention != "none":
                x = self.add(Attention(stage.attention), (width,), at[stride], x)
            decoded[stride] = x
        if architecture.head_upsampling == "lpg":
            return self._add_guided_head(architecture, at, decoded)
        return self.add(Head(architecture.head_upsampling), (width,), at[strides[-1]], x)

    def add_encoder(self, architecture: Architecture, resized: int) -> dict[int, int]:
        """Append the encoder; returns its last value at every stride."""
        height, width = architecture.input_height, architecture.input_width
        encoder = architecture.encoder
        stem_channels, blocks = _encoder_blocks(encoder.family, encoder.width, encoder.stages)
        x = self.add(
            Stem(encoder.family, architecture.coordinates), (stem_channels,), (height, width), resized
        )
        features = {get_family(encoder.family).stem_stride: x}
        for block, channels, stride in blocks:
            x = self.add(block, channels, (height // stride, width // stride), x)
            features[stride * block.block.stride] = x
        return features

    def _add_guided_head(
        self, architecture: Architecture, at: dict[int, tuple[int, int]], decoded: dict[int, int]
    ) -> int:
        widths = {
            stride: stage.width
            for stride, stage in zip(architecture.decoder_strides, architecture.decoder, strict=True)
        }
        planes = tuple(stride for stride in widths if stride in GUIDED_STRIDES)
        maps = [self.add(Plane(stride), (widths[stride],), at[stride], decoded[stride]) for stride in planes]
        last = architecture.head_stride
        return self.add(GuidedHead(planes, last), (widths[last],), at[last], decoded[last], *maps)


@lru_cache(maxsize=4096)
def _encoder_blocks(
    family_name: str, multiplier: float, stages: int
) -> tuple[int, tuple[tuple[EncoderBlock, tuple[int, ...], int], ...]]:
    """Channels of the stem; of every block the piece, its channels and the stride of its input."""
    family = get_family(family_name)
    stem_channels = channels = family.scaled(family.stem_channels, multiplier)
    stride = family.stem_stride
    pieces = []
    for blocks in family.blocks()[:stages]:
        for block in blocks:
            inside = tuple(family.scaled(plain, multiplier) for plain in block.channels)
            pieces.append((EncoderBlock.like(block), (channels, *inside), stride))
            channels, stride = inside[-1], stride * block.stride
    return stem_channels, tuple(pieces)
