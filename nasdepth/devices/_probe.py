"""The probe model of a diagnosis: which XNNPACK should take in one partition."""

from __future__ import annotations

from functools import cache

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_SIZE, _CHANNELS = 64, 16
_BUILTINS = ("CONV_2D", "DEPTHWISE_CONV_2D", "HARD_SWISH", "ADD", "RESIZE_BILINEAR")
PROBE_OPERATIONS = len(_BUILTINS)


@cache
def probe_model() -> bytes:
    """A .tflite of 5 operations, float32, input (1, 64, 64, 16), output (1, 128, 128, 16)."""
    random = np.random.default_rng(0)
    buffers, tensors, operators = [schema.BufferT()], [], []

    def tensor(name: str, shape: tuple[int, ...], values: np.ndarray | None = None) -> int:
        kind = schema.TensorType.FLOAT32
        if values is not None:
            buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
            kind = schema.TensorType.INT32 if values.dtype == np.int32 else kind
        index = len(buffers) - 1 if values is not None else 0
        tensors.append(schema.TensorT(shape=list(shape), type=kind, buffer=index, name=name.encode()))
        return len(tensors) - 1

    def weights(name: str, shape: tuple[int, ...]) -> int:
        return tensor(name, shape, random.normal(0, 0.1, shape).astype(np.float32))

    def operation(
        builtin: str, inputs: list[int], kind: str = "", options: object = None, scale: int = 1
    ) -> int:
        output = tensor(f"out{len(operators)}", (1, scale * _SIZE, scale * _SIZE, _CHANNELS))
        code = getattr(schema.BuiltinOptions, kind) if kind else 0
        operators.append(
            schema.OperatorT(
                opcodeIndex=_BUILTINS.index(builtin),
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=code,
                builtinOptions=options,
            )
        )
        return output

    image = tensor("input", (1, _SIZE, _SIZE, _CHANNELS))
    convolution = schema.Conv2DOptionsT(
        strideH=1, strideW=1, fusedActivationFunction=schema.ActivationFunctionType.RELU6
    )
    first = operation(
        "CONV_2D",
        [image, weights("w0", (_CHANNELS, 3, 3, _CHANNELS)), weights("b0", (_CHANNELS,))],
        "Conv2DOptions",
        convolution,
    )
    depthwise = schema.DepthwiseConv2DOptionsT(strideH=1, strideW=1, depthMultiplier=1)
    second = operation(
        "DEPTHWISE_CONV_2D",
        [first, weights("w1", (1, 3, 3, _CHANNELS)), weights("b1", (_CHANNELS,))],
        "DepthwiseConv2DOptions",
        depthwise,
    )
    third = operation("HARD_SWISH", [second])
    fourth = operation("ADD", [third, image], "AddOptions", schema.AddOptionsT())
    size = tensor("size", (2,), np.array([2 * _SIZE, 2 * _SIZE], np.int32))
    last = operation(
        "RESIZE_BILINEAR",
        [fourth, size],
        "ResizeBilinearOptions",
        schema.ResizeBilinearOptionsT(halfPixelCenters=True),
        scale=2,
    )
    versions = {"RESIZE_BILINEAR": 3}
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(
                deprecatedBuiltinCode=getattr(schema.BuiltinOperator, name),
                builtinCode=getattr(schema.BuiltinOperator, name),
                version=versions.get(name, 1),
            )
            for name in _BUILTINS
        ],
        subgraphs=[schema.SubGraphT(tensors=tensors, inputs=[image], outputs=[last], operators=operators)],
        description=b"nasdepth probe",
        buffers=buffers,
    )
    builder = flatbuffers.Builder(1 << 15)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
