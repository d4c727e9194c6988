"""`Recorder`: nodes as a module's operations become them, and which tensor is which value."""

from __future__ import annotations

from typing import Any

import torch

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.graph import Node, canonical
from nasdepth.kernels.kernel import Kernel, hwc, unusual


class Recorder:
    """The nodes of a module that is being run on shapes, and which tensor is which value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.transposed: dict[int, bool] = {}  # values made by a transposed convolution, with a bias or not
        self._values: dict[int, int] = {}
        self._rearranged: dict[int, str] = {}  # tensors that hold a value in another order, see `rearranged`
        self._count = 0
        self._alive: list[torch.Tensor] = []  # an id must not be handed to a second tensor

    def introduce(self, tensor: torch.Tensor) -> int:
        """Give a tensor, new or overwritten in place, a new value number."""
        self._count += 1
        self._values[id(tensor)] = self._count
        self._alive.append(tensor)
        return self._count

    def is_data(self, argument: object) -> bool:
        return id(argument) in self._values

    def value_of(self, tensor: torch.Tensor) -> int:
        return self._values[id(tensor)]

    def node(
        self,
        op: str,
        inputs: list[torch.Tensor],
        shape: tuple[int, ...],
        *,
        normalisation: bool = False,
        pads: tuple[int, int, int, int] | None = None,
        **attributes: Any,
    ) -> torch.Tensor:
        """Append a node and return its output, of torch shape `shape`."""
        in_shape, out_shape = self.deployed(inputs[0].shape), self.deployed(shape)
        if order := self._rearranged.get(id(inputs[0])):
            in_shape = _in_order(inputs[0].shape, order)
        if pads is not None and (pads[0], pads[2]) != ((pads[0] + pads[1]) // 2, (pads[2] + pads[3]) // 2):
            attributes["begin"] = (0, pads[0], pads[2], 0)
        attributes |= {"in_shape": unusual(in_shape), "out_shape": unusual(out_shape)}
        kernel = Kernel(op, *hwc(in_shape), *hwc(out_shape), **attributes)
        output = torch.empty(shape, device="meta")
        sources = tuple(self.value_of(tensor) for tensor in inputs)
        self.nodes.append(Node(canonical(kernel), sources, self.introduce(output), pads, normalisation))
        return output

    def rearranged(self, tensor: torch.Tensor, shape: tuple[int, ...], order: str) -> torch.Tensor:
        """The same value in another order of axes, which conversion takes up without moving anything.

        Args:
            order: `channels_last`, a (1, H, W, C) in torch too, or `swapped`, the last two axes of three.
        """
        output = torch.empty(shape, device="meta")
        self._alive.append(output)
        self._values[id(output)] = self.value_of(tensor)
        if order:
            self._rearranged[id(output)] = order
        return output

    def order_of(self, tensor: torch.Tensor) -> str:
        """As `rearranged` was told, empty for a tensor in its own order."""
        return self._rearranged.get(id(tensor), "")

    def unknown(self, what: str) -> UnknownKernelError:
        return UnknownKernelError(
            f"{self.name}: {what} has no latency kernel; use another operation, or add one to "
            "nasdepth/latency/extract/torch_ops.py"
        )

    def deployed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a tensor has in a .tflite; pixels by channels, (1, H W, C), stay as they are."""
        if len(shape) == 4 and shape[0] == 1:
            return 1, *shape[2:], shape[1]
        if len(shape) in (2, 3) and shape[0] == 1:
            return tuple(shape)
        raise self.unknown(
            f"a tensor of shape {tuple(shape)} (expected (1, C, H, W), (1, pixels, C) or (1, C))"
        )


def _in_order(shape: tuple[int, ...], order: str) -> tuple[int, ...]:
    return tuple(shape) if order == "channels_last" else (*shape[:-2], shape[-1], shape[-2])
