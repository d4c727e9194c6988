"""The int8 file: a plan's steps as operators, with the numbers that its values and constants stand for."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np

from nasdepth.deploy.quantise.weights import (
    MOST_RATIO,
    Affine,
    least_output_scale,
    quantise_bias,
    quantise_filters,
)
from nasdepth.kernels.kernel import CONVOLUTIONS
from nasdepth.kernels.precision import Plan, Step
from nasdepth.tflite.file_kernels import FileGraph
from nasdepth.tflite.operator_options import operator_options, operator_version
from nasdepth.tflite.schema_codes import BUILTIN_OF_OP, PRECISION_CODES, schema

# Place of the data, the filters and the bias among the inputs, and the filters' axis of output channels
_LAYOUTS = {
    "conv2d": (0, 1, 2, 0),
    "depthwise_conv2d": (0, 1, 2, 3),
    "transpose_conv2d": (2, 1, 3, 0),
    "fully_connected": (0, 1, 2, None),
}


class Int8Writer:
    """Writes the quantised graph of a float file.

    Args:
        source: the float file's graph.
        plan: of its nodes.
        ranges: lowest and highest value of every tensor of the float file that becomes int8.

    Attributes:
        numbers: what the integers of each of the plan's values stand for, by place; none for float ones.
    """

    def __init__(self, source: FileGraph, plan: Plan, ranges: Mapping[int, tuple[float, float]]) -> None:
        self._source, self._plan = source, plan
        self._tensors: list[schema.TensorT] = []
        self._buffers = [schema.BufferT()]
        self._codes: list[schema.OperatorCodeT] = []
        self._operators: list[schema.OperatorT] = []
        self._copied: dict[int, int] = {}  # constants that stay as they are, by tensor of the source
        self._written_first = {step.output for step in plan.steps if step.origin is not None} | {plan.image}
        self.numbers = self._affines(ranges)
        self.tensor_of = [self._value(place) for place in range(len(plan.values))]

    def model(self) -> schema.ModelT:
        """The whole file; nothing in it is unused."""
        for step in self._plan.steps:
            self._write(step)
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=[self.tensor_of[self._plan.image]],
            outputs=[self.tensor_of[place] for place in self._plan.outputs],
            operators=self._operators,
            name=self._source.graph.name,
        )
        return schema.ModelT(
            version=3,
            operatorCodes=self._codes,
            subgraphs=[graph],
            description=b"int8, quantised by nasdepth",
            buffers=self._buffers,
            signatureDefs=self._signatures(),
        )

    def _affines(self, ranges: Mapping[int, tuple[float, float]]) -> dict[int, Affine]:
        """Scale and zero point of every quantised value; one for each group."""
        plan = self._plan
        spans: dict[int, tuple[float, float]] = {}
        for value in plan.values:
            if value.precision == "int8" and value.group not in plan.fixed:
                low, high = ranges[value.of]
                before = spans.get(value.group, (low, high))
                spans[value.group] = (min(low, before[0]), max(high, before[1]))
        for step in plan.steps:
            group = plan.values[step.output].group
            if step.kernel.op == "concat" and step.kernel.operand and group in spans:
                constant = self._constants(step)[-1]
                low, high = spans[group]
                spans[group] = min(low, float(constant.min())), max(high, float(constant.max()))
        groups = {group: Affine.of_range(*span) for group, span in spans.items()}
        numbers = {}
        for place, value in enumerate(plan.values):
            if value.precision == "float32":
                continue
            if value.group in plan.fixed:
                numbers[place] = Affine.prescribed(*plan.fixed[value.group], value.precision)
            else:
                numbers[place] = groups[value.group]
        return self._wide_enough(numbers)

    def _wide_enough(self, numbers: dict[int, Affine]) -> dict[int, Affine]:
        """Coarser scales for what an operation could not write: activations that hardly vary.

        What is too fine for a kernel's multiplier ends the process or leaves the delegate.
        """
        plan = self._plan
        members: dict[int, list[int]] = {}
        for place in numbers:
            members.setdefault(plan.values[place].group, []).append(place)
        changed = True
        while changed:
            changed = False
            for step in plan.steps:
                group = plan.values[step.output].group
                if step.output not in numbers or group in plan.fixed:
                    continue
                finest = np.float32(self._finest(step, numbers))
                if numbers[step.output].scale < finest:
                    changed = True
                    for place in members[group]:
                        numbers[place] = Affine(float(finest), numbers[place].zero)
        return numbers

    def _finest(self, step: Step, numbers: Mapping[int, Affine]) -> float:
        """The finest scale that a step can write."""
        scales = [numbers[place].scale for place in step.inputs if place in numbers]
        if not scales or step.kernel.precision != "int8":
            return 0.0
        if step.kernel.op in CONVOLUTIONS:
            return least_output_scale(self._constants(step)[0], scales[0])
        if step.kernel.op in ("mul", "batch_matmul"):
            return math.prod(scales) / MOST_RATIO
        if step.kernel.op in ("add", "sub", "quantize", "leaky_relu", "mean"):
            return max(scales) / MOST_RATIO
        return 0.0

    def _value(self, place: int) -> int:
        value = self._plan.values[place]
        before = self._source.graph.tensors[value.of]
        name = before.name or b""
        if place not in self._written_first:
            # a tensor is found by its name, so that no two may have one
            name += f" as {value.precision} {place}".encode()
        tensor = schema.TensorT(
            shape=before.shape, type=PRECISION_CODES[value.precision], buffer=0, name=name
        )
        if number := self.numbers.get(place):
            tensor.quantization = _quantization([number.scale], [number.zero])
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, values: np.ndarray, name: bytes, kind: int, quantization=None) -> int:
        self._buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        tensor = schema.TensorT(
            shape=list(values.shape),
            type=kind,
            buffer=len(self._buffers) - 1,
            name=name,
            quantization=quantization,
        )
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _copy(self, tensor: int) -> int:
        """A constant as it is in the source."""
        if tensor not in self._copied:
            before = self._source.graph.tensors[tensor]
            content = np.asarray(self._source.model.buffers[before.buffer].data, np.uint8)
            self._buffers.append(schema.BufferT(data=content))
            after = copy.copy(before)
            after.name = b""
            after.buffer = len(self._buffers) - 1
            self._tensors.append(after)
            self._copied[tensor] = len(self._tensors) - 1
        return self._copied[tensor]

    def _constants(self, step: Step) -> list[np.ndarray]:
        """The float constants that a step's operator reads."""
        operator = self._source.graph.operators[self._source.operators[step.origin]]
        return [
            self._source.floats(int(tensor))
            for tensor in operator.inputs
            if int(tensor) in self._source.constants and self._source.is_float(int(tensor))
        ]

    def _write(self, step: Step) -> None:
        kernel = step.kernel
        origin = None if step.origin is None else self._source.nodes[step.origin]
        if origin is None or kernel.op != origin.kernel.op:
            self._convert(step)
            return
        operator = copy.copy(self._source.graph.operators[self._source.operators[step.origin]])
        data = dict(zip(origin.inputs, step.inputs, strict=True))
        operator.inputs = self._inputs(step, [int(one) for one in operator.inputs], data)
        operator.outputs = [self.tensor_of[step.output]]
        operator.opcodeIndex = self._code(step)
        self._operators.append(operator)

    def _convert(self, step: Step) -> None:
        """A conversion, or the mean that stands for a pool."""
        inputs = [self.tensor_of[step.inputs[0]]]
        if step.kernel.op == "mean":
            axes = np.array(step.kernel.axes or (1, 2), np.int32)
            inputs.append(self._constant(axes, b"", schema.TensorType.INT32))
        options = operator_options(step.kernel)
        kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=self._code(step),
                inputs=inputs,
                outputs=[self.tensor_of[step.output]],
                builtinOptionsType=kind,
                builtinOptions=options,
            )
        )

    def _inputs(self, step: Step, inputs: list[int], data: Mapping[int, int]) -> list[int]:
        """The tensors that an operator reads, constants included."""
        if step.kernel.precision == "int8" and step.kernel.op in CONVOLUTIONS:
            return self._convolution(step, inputs, data)
        return [
            self.tensor_of[data[tensor]]
            if tensor in data
            else self._operand(step, tensor)
            if step.kernel.precision == "int8" and self._source.is_float(tensor)
            else self._copy(tensor)
            for tensor in inputs
            if tensor >= 0
        ]

    def _convolution(self, step: Step, inputs: list[int], data: Mapping[int, int]) -> list[int]:
        at, filters_at, bias_at, axis = _LAYOUTS[step.kernel.op]
        in_scale, out_scale = self.numbers[step.inputs[0]].scale, self.numbers[step.output].scale
        bias = None
        if len(inputs) > bias_at and inputs[bias_at] >= 0:
            bias = self._source.floats(inputs[bias_at]).reshape(-1)
        filters, scales = quantise_filters(
            self._source.floats(inputs[filters_at]), axis, in_scale, out_scale, bias
        )
        written = list(inputs)
        written[at] = self.tensor_of[data[inputs[at]]]
        written[filters_at] = self._constant(
            filters,
            b"",
            schema.TensorType.INT8,
            _quantization(scales, [0] * len(scales), axis or 0),
        )
        if bias is not None:
            written[bias_at] = self._constant(
                quantise_bias(bias, in_scale, scales),
                b"",
                schema.TensorType.INT32,
                _quantization(np.float32(in_scale) * scales, [0] * len(scales)),
            )
        if step.kernel.op == "transpose_conv2d":
            written[0] = self._copy(inputs[0])
        return written

    def _operand(self, step: Step, tensor: int) -> int:
        """A constant of an operation on two values, or a member of a concatenation."""
        values = self._source.floats(tensor)
        if step.kernel.op == "concat":
            number = self.numbers[step.output]
        else:
            number = Affine.of_range(float(values.min()), float(values.max()))
        return self._constant(
            number.quantise(values),
            b"",
            schema.TensorType.INT8,
            _quantization([number.scale], [number.zero]),
        )

    def _code(self, step: Step) -> int:
        """The place of the step's operator code, of the version that its precision needs."""
        origin = None if step.origin is None else self._source.nodes[step.origin].kernel
        code = getattr(schema.BuiltinOperator, BUILTIN_OF_OP[step.kernel.op])
        version = operator_version(step.kernel)
        if origin is not None and origin.op == step.kernel.op and step.kernel.precision == "float32":
            operator = self._source.graph.operators[self._source.operators[step.origin]]
            version = self._source.model.operatorCodes[operator.opcodeIndex].version
        for place, known in enumerate(self._codes):
            if (known.builtinCode, known.version) == (code, version):
                return place
        self._codes.append(
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
        )
        return len(self._codes) - 1

    def _signatures(self) -> list[schema.SignatureDefT] | None:
        """The source's, of the same names."""
        ends = dict(zip(map(int, self._source.graph.inputs), [self.tensor_of[self._plan.image]], strict=True))
        ends |= dict(
            zip(self._source.outputs, (self.tensor_of[one] for one in self._plan.outputs), strict=True)
        )
        signatures = []
        for before in self._source.model.signatureDefs or ():
            after = copy.deepcopy(before)
            for entry in (*after.inputs, *after.outputs):
                entry.tensorIndex = ends[int(entry.tensorIndex)]
            signatures.append(after)
        return signatures or None


def _quantization(scales, zeros, axis: int = 0) -> schema.QuantizationParametersT:
    return schema.QuantizationParametersT(
        scale=np.array(scales, np.float32),
        zeroPoint=np.array(zeros, np.int64),
        quantizedDimension=axis,
    )
