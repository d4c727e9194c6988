"""Kernels of a torch module, read off one pass over shapes: no weights are touched, nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasdepth.kernels.graph import Node, fuse
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import Rules, module_rules
from nasdepth.latency.extract.recorder import Recorder
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
    return tuple(node.kernel for node in module_nodes(module, input_hw, runtime))


def module_nodes(
    module: nn.Module, input_hw: tuple[int, int] = (480, 640), runtime: str = "xnnpack"
) -> tuple[Node, ...]:
    """The kernels of `module_kernels`, with its arguments and errors, and what each of them reads.

    Value 1 is the module's input.
    """
    if any(isinstance(part, Collapsible) for part in module.modules()):
        module = collapse(module)
    with _evaluation(module):
        return trace(module, [(3, *input_hw)], type(module).__name__, module_rules(runtime))


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


class Trace(Recorder, TorchDispatchMode):
    """Records a node for every operation on data; operations on constants run as they are."""

    def __init__(self, name: str) -> None:
        Recorder.__init__(self, name)
        TorchDispatchMode.__init__(self)

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
