"""From a float .tflite to one of lower precision, verified before it is written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasdepth.deploy.clean_up import drop_unused
from nasdepth.deploy.quantise.half import halve_weights
from nasdepth.deploy.quantise.ranges import Calibration, measure_ranges
from nasdepth.deploy.quantise.verify import Verification, compare, noise_by_layer
from nasdepth.deploy.quantise.writer import Int8Writer
from nasdepth.errors import DataError, ModelFileError
from nasdepth.files import whole_file
from nasdepth.kernels.graph import fuse
from nasdepth.kernels.precision import FILE_RUNTIME, Ends, Plan, Precision, plan_int8
from nasdepth.kernels.rules import Rules, load_rules, partitions
from nasdepth.tflite.depth_model import TFLiteDepth
from nasdepth.tflite.file_kernels import FileGraph
from nasdepth.tflite.flatbuffer import operator_name, read_model, write_model
from nasdepth.tflite.schema_codes import BUILTIN_OF_OP, schema

_ANY_RANGE = (-6.0, 6.0)


@dataclass(frozen=True)
class Converted:
    """A file of lower precision.

    Attributes:
        path: of the file.
        precision: of it.
        operators: in order.
        kept_float: operators that stay in float32 for want of a fast int8 form, and how many of each.
        calibrated_on: images that the ranges are of; 0 where none are needed.
        verification: beside the float file.
    """

    path: Path
    precision: Precision
    operators: tuple[str, ...]
    kept_float: dict[str, int]
    calibrated_on: int
    verification: Verification

    def warnings(self) -> list[str]:
        """What somebody who deploys the file should know."""
        found = self.verification.warnings()
        if self.kept_float:
            listed = ", ".join(f"{name} ({count})" for name, count in self.kept_float.items())
            one = self.verification
            found.append(
                f"stay in float32, as XNNPACK has no int8 form of them: {listed}; {one.partitions} "
                f"partitions, {one.float_partitions} in the float file"
            )
        return found


def convert_precision(
    source: Path,
    target: Path,
    precision: Precision,
    calibration: Calibration | None = None,
    ends: Ends = "uint8",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Converted:
    """Write a float depth file with int8 weights and activations, or with weights of half precision.

    int8 is post-training quantisation as TFLite's specification has it (Jacob et al. 2018, arXiv:1712.05877;
    Krishnamoorthi 2018, arXiv:1806.08342): filters symmetric, with a scale for each output channel;
    activations asymmetric, with the lowest and highest value over the calibration images; biases in int32.

    Args:
        source: a float depth .tflite.
        target: written whole or not at all.
        precision: `int8` or `fp16`.
        calibration: photographs; int8 needs them, fp16 is compared on them where they are given.
        ends: what an int8 file takes. Depth comes out in float32 millimetres either way.
        progress: hears (done, total) calibration images.

    Raises:
        ModelFileError: the source is no float depth file, or the result differs too much from it.
        DataError: int8 without calibration images.
    """
    model = read_float(source)
    require_calibration(precision, calibration)
    if calibration is None or precision == "fp16":
        return _half(model, source, target, calibration)
    return _int8(model, source, target, calibration, ends, progress)


def convert_for_timing(source: Path, target: Path, precision: Precision, rules: Rules | None = None) -> None:
    """Write what takes as long as the file of lower precision, with ranges that no image gave it.

    Times do not depend on values. The file's depth means nothing.

    Args:
        source: a float depth .tflite.
        target: written whole or not at all.
        precision: `int8` or `fp16`.
        rules: of the runtime; XNNPACK's by default.
    """
    graph = FileGraph(read_float(source), source)
    if precision == "fp16":
        halve_weights(graph.model)
        drop_unused(graph.model)
        written = graph.model
    else:
        plan = plan_int8(
            graph.nodes, int(graph.graph.inputs[0]), graph.outputs, rules or load_rules(FILE_RUNTIME)
        )
        ranges = {value.of: _ANY_RANGE for value in plan.values}
        written = Int8Writer(graph, plan, ranges).model()
    with whole_file(target) as temporary:
        write_model(written, temporary)


def require_calibration(precision: Precision, calibration: object) -> None:
    """Refuse int8 without anything to calibrate on.

    Raises:
        DataError: there is nothing.
    """
    if precision == "int8" and calibration is None:
        raise DataError(
            "int8 needs photographs to calibrate on, which say how large its activations become: give "
            "`calibration`, the data that the network was trained on"
        )


def read_float(path: Path) -> schema.ModelT:
    """Read a float depth file.

    Raises:
        ModelFileError: damaged, no depth file, or of lower precision already; the message says which.
    """
    model = read_model(path)
    kinds = {tensor.type for graph in model.subgraphs for tensor in graph.tensors}
    low = {
        schema.TensorType.INT8: "int8",
        schema.TensorType.UINT8: "uint8",
        schema.TensorType.FLOAT16: "fp16",
    }
    if found := sorted(name for kind, name in low.items() if kind in kinds):
        raise ModelFileError(
            f"{path}: is quantised already (it has {' and '.join(found)} tensors); give the float32 file or "
            "the checkpoint that it was made of"
        )
    TFLiteDepth(path)  # says what is wrong with a file that is none
    return model


def _int8(
    model: schema.ModelT,
    source: Path,
    target: Path,
    calibration: Calibration,
    ends: Ends,
    progress: Callable[[int, int], None],
) -> Converted:
    graph, threads = FileGraph(model, source), os.cpu_count() or 1
    rules = load_rules(FILE_RUNTIME)
    plan = plan_int8(graph.nodes, int(graph.graph.inputs[0]), graph.outputs, rules, ends)
    needed = {
        value.of for value in plan.values if value.precision == "int8" and value.group not in plan.fixed
    }
    ranges = measure_ranges(
        source, needed, calibration.seen, threads, lambda done: progress(done, len(calibration.seen))
    )
    if wrong := [tensor for tensor, span in ranges.items() if not np.isfinite(span).all()]:
        name = (graph.graph.tensors[wrong[0]].name or b"").decode()
        raise ModelFileError(f"{source}: tensor {wrong[0]} ({name}) is not finite on {calibration.name}")
    writer = Int8Writer(graph, plan, ranges)
    written = writer.model()
    operators = _operators(written)
    kernels = [node.kernel for node in fuse(plan.nodes(graph.nodes), plan.outputs, rules)]
    with whole_file(target) as temporary:
        write_model(written, temporary)
        layers = noise_by_layer(
            temporary, source, _layers(graph, plan, writer), calibration.held_back, threads
        )
        verification = compare(
            temporary,
            source,
            calibration.held_back,
            f"{len(calibration.held_back)} images of {calibration.name} held back from calibration",
            partitions(kernels, FILE_RUNTIME),
            layers,
            threads,
        )
        verification.require_good(target)
    kept = Counter(BUILTIN_OF_OP[step.kernel.op] for step in plan.floats())
    return Converted(target, "int8", operators, dict(kept), len(calibration.seen), verification)


def _layers(graph: FileGraph, plan: Plan, writer: Int8Writer) -> dict[str, tuple]:
    """The tensors whose noise is reported, by layer."""
    layers = {}
    for step in plan.steps:
        value = plan.values[step.output]
        if step.origin is None or value.precision != "int8":
            continue
        place = graph.operators[step.origin]
        shape = "x".join(map(str, step.kernel.output_shape))
        name = f"{operator_name(graph.model, graph.graph.operators[place])} #{place} ({shape})"
        layers[name] = (value.of, writer.tensor_of[step.output], writer.numbers[step.output])
    return layers


def _half(model: schema.ModelT, source: Path, target: Path, calibration: Calibration | None) -> Converted:
    graph = FileGraph(model, source)
    kernels = [node.kernel for node in fuse(graph.nodes, graph.outputs, load_rules(FILE_RUNTIME))]
    halve_weights(model)
    drop_unused(model)
    images, words = _test_pattern(TFLiteDepth(source).input_hw), "an image of coloured blocks"
    if calibration is not None:
        images = (*calibration.seen, *calibration.held_back)[-len(calibration.held_back) :]
        words = f"{len(images)} images of {calibration.name}"
    with whole_file(target) as temporary:
        write_model(model, temporary)
        verification = compare(
            temporary, source, images, words, partitions(kernels, FILE_RUNTIME), threads=os.cpu_count() or 1
        )
        verification.require_good(target)
    return Converted(target, "fp16", _operators(model), {}, 0, verification)


def _test_pattern(hw: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """One image that is nothing like a photograph, but that every layer sees."""
    blocks = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    rows, columns = (np.arange(size) * 8 // size for size in hw)
    return (blocks[rows[:, None], columns],)


def _operators(model: schema.ModelT) -> tuple[str, ...]:
    return tuple(operator_name(model, operator) for operator in model.subgraphs[0].operators)
