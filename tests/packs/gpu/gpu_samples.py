"""Published files of invented phones: small networks whose times follow a law that the tests know."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

HEADER = (
    "model,op,input_shape,input_channel,output_shape,stride,kernel,filter,group,flops,"
    "adreno640_us,adreno640_kernel"
)
BASE_US, KERNEL_US, INFLATION = 900.0, 2.0, 0.9


@dataclass
class _Writer:
    """Rows of one model, numbered as the delegate numbers nodes."""

    model: str
    rows: list[str]
    node: int = 0
    total_us: float = 0.0
    kernels: int = 0

    def add(self, op: str, cells: str, us: float, name: str, *links: str) -> None:
        chain = f"{name}_{self.node}"
        for link in links:
            self.node += 1
            chain += f"_linked_:_{link}_{self.node}"
        self.node += 1
        self.rows.append(f"{self.model},{op},{cells},{us:.4f},{chain}")
        self.total_us += us
        self.kernels += 1


def slices(channels: int) -> int:
    return -(-channels // 4)


def convolution_us(size: int, ins: int, outs: int, window: int) -> float:
    """A thread computes 2x2 pixels of 2 slices; 512 run at once."""
    threads = (-(-size // 2)) ** 2 * -(-slices(outs) // 2)
    loop = slices(ins) * window**2
    return 4 + 0.5 * loop + 0.0008 * loop * min(threads, 512) + 0.0007 * loop * threads


def depthwise_us(size: int, channels: int, window: int) -> float:
    return 4 + 0.0009 * size**2 * slices(channels) * (1 + 0.1 * window**2)


def fully_connected_us(ins: int, outs: int) -> float:
    return 4 + 0.15 * slices(ins) + 0.001 * slices(ins) * slices(outs)


def moving_us(elements: int) -> float:
    return 4 + 0.0004 * elements


def write_published(folder: Path, models: int = 24, seed: int = 0) -> tuple[Path, Path]:
    """(operations, models): networks of convolutions of stride 1, concatenations, a mean and a classifier."""
    rng = random.Random(seed)
    rows, ends = [HEADER], ["model,flops,size_bytes,adreno640_gpu_us"]
    for index in range(models):
        writer = _Writer(f"net{index}", rows)
        channels = 8 * rng.randint(5, 12)
        for size in (56, 28, 14, 7):
            for _ in range(rng.randint(1, 3)):
                outs = 8 * rng.randint(5, 14)  # with more of them Winograd would be chosen at 56x56
                window = rng.choice((1, 1, 3))
                us = convolution_us(size, channels, outs, window)
                cells = f"{size},{channels},{size},1,{window},{outs},1,0"
                writer.add("CONV_2D", cells, us, "convolution_2d", "relu")
                channels = outs
                for window in (3, 5):
                    cells = f"{size + window - 1},{channels},{size},1,{window},1,1,0"
                    writer.node += 1  # the padding
                    us = depthwise_us(size, channels, window)
                    writer.add("DEPTHWISE_CONV_2D", cells, us, "depthwise_convolution", "relu")
            us = moving_us(4 * size**2 * slices(channels))
            writer.add("CONCATENATION", f"{size},{channels},{size},-,2,{2 * channels},-,-", us, "concat")
            channels *= 2
        us = 4 + 0.002 * 49 * slices(channels)
        writer.add("MEAN", f"7,{channels},{channels},-,1,-,-,0", us, "mean")
        for outs in (32, 1000):
            us = fully_connected_us(channels, outs)
            writer.add("FULLY_CONNECTED", f"-,{channels},-,-,-,{outs},-,0", us, "fully_connected")
            channels = outs
        us = BASE_US + KERNEL_US * writer.kernels + INFLATION * writer.total_us
        ends.append(f"net{index},0,0,{us * rng.gauss(1, 0.01):.3f}")
    operations, networks = folder / "operations.csv", folder / "networks.csv"
    operations.write_text("\n".join(rows) + "\n", encoding="utf-8")
    networks.write_text("\n".join(ends) + "\n", encoding="utf-8")
    return operations, networks
