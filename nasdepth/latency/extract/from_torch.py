"""Kernels of a torch module, read off one pass over shapes: no weights are touched, nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.graph import Node, canonical, fuse
from nasdepth.kernels.kernel import Kernel, hwc, unusual
from nasdepth.kernels.rules import Rules, module_rules
from nasdepth.latency.extract.torch_ops import HANDLERS, REARRANGING
from nasdepth.models.reparam import Collapsible, collapse


def module_kernels(
    module: nn.Module, input_hw: tuple[int, int] = (480, 640), runtime: str = "xnnpack"
) -> tuple[Kernel, ...]:
    """The kernels that a module runs when it is deployed, in order.

    Args:
        module: (1, 3, H, W) float -> one tensor, on any device, the meta device included. It is read in
            evaluation mode, what is over-parameterised in it collapsed, and left as it was.
        input_hw: height and width of the input.
        runtime: `xnnpack`, `tflite` (no delegate) or `gpu`.

    Raises:
        UnknownKernelError: the module uses an operation that has no kernel; the message names it.
    """
    if any(isinstance(part, Collapsible) for part in module.modules()):
        module = collapse(module)
    with _evaluation(module):
        nodes = trace(module, [(3, *input_hw)], type(module).__name__, module_rules(runtime))
    return tuple(node.kernel for node in nodes)


def trace(
    function: Callable[..., torch.Tensor], inputs: Sequence[tuple[int, int, int]], name: str, rules: Rules
) -> tuple[Node, ...]:
    """What a function of images runs, fused.

    Args:
        function: takes tensors of (1, C, H, W) and returns one.
        inputs: (C, H, W) of each; the first is value 1, the second 2 and so on.
        name: for messages.
        rules: what is fused.
    """
    tracer = Trace(name)
    with torch.no_grad():
        images = [torch.empty((1, *shape), device="meta") for shape in inputs]
        for image in images:
            tracer.introduce(image)
        with tracer:
            output = function(*images)
    return fuse(tracer.nodes, [tracer.value_of(output)], rules)


@contextmanager
def _evaluation(module: nn.Module):
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


class Trace(TorchDispatchMode):
    """Records a node for every operation on data; operations on constants run as they are."""

    def __init__(self, name: str) -> None:
        super().__init__()
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
        **attributes: int | str | tuple[int, ...],
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

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        is_data = any(self.is_data(argument) for argument in args) or (
            bool(args) and isinstance(args[0], list | tuple) and any(map(self.is_data, args[0]))
        )
        if not is_data:
            return func(*args, **kwargs)
        handler = HANDLERS.get(func.overloadpacket)
        if handler is None:
            raise self.unknown(str(func))
        if handler not in REARRANGING and (
            orders := [self.order_of(one) for one in args if self.order_of(one)]
        ):
            raise self.unknown(f"{func} of a {orders[0].replace('_', ' ')} tensor")
        output = handler(self, *args, **kwargs)
        if func._schema.is_mutable:  # the caller goes on with its own tensor, which now holds the result
            self._values[id(args[0])] = self.value_of(output)
            return args[0]
        return output

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
