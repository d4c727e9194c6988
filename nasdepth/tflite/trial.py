"""Trying a .tflite in a process of its own: a damaged file can kill the runtime, or keep it for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nasdepth.errors import ModelFileError

_PATIENCE_S = 60.0
# more than the weights and activations of any network for a board
_MOST_BYTES = 16 << 30
_PROGRAM = """
import json, resource, sys
job = json.loads(sys.stdin.readline())
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (job["bytes"], job["bytes"]))
from ai_edge_litert.interpreter import Interpreter, OpResolverType
try:
    interpreter = Interpreter(
        model_path=job["path"],
        num_threads=1,
        # a delegate hides the shapes of what it takes
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        if job["shapes"]
        else OpResolverType.AUTO,
    )
    for detail, shape in zip(interpreter.get_input_details(), job["shapes"]):
        interpreter.resize_tensor_input(detail["index"], shape, strict=False)
    interpreter.allocate_tensors()
    tensors = interpreter.get_tensor_details()
    answer = {"shapes": {str(one["index"]): [int(size) for size in one["shape"]] for one in tensors}}
except (ValueError, RuntimeError, MemoryError, OSError, OverflowError) as error:
    answer = {"refusal": str(error) or type(error).__name__}
print("\\nANSWER " + json.dumps(answer))
"""


@dataclass(frozen=True)
class Trial:
    """What the runtime said of a file.

    Attributes:
        refusal: why it does not take it; empty where it does.
        shapes: of its tensors by index, once the inputs have theirs.
    """

    refusal: str
    shapes: dict[int, tuple[int, ...]]


def try_model(path: str | Path, input_shapes: Sequence[Sequence[int]] = ()) -> Trial:
    """Load a .tflite by the runtime in a child process, and let it reserve its tensors.

    Args:
        path: of the file.
        input_shapes: of the first inputs, where they are to be resized.

    Raises:
        ModelFileError: the runtime dies of the file, or does not come to an end.
    """
    path = Path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    shapes = tuple(tuple(int(size) for size in shape) for shape in input_shapes)
    return _tried(str(path.absolute()), stat.st_size, stat.st_mtime_ns, shapes)


@lru_cache(maxsize=64)
def _tried(path: str, size: int, changed_ns: int, shapes: tuple[tuple[int, ...], ...]) -> Trial:
    job = json.dumps({"path": path, "bytes": _MOST_BYTES, "shapes": shapes})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=job + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(
            f"{path}: the runtime does not come to an end with it in {_PATIENCE_S:.0f} s; it is damaged"
        ) from error
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    if not answers:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        raise ModelFileError(f"{path}: the runtime dies of it ({how}); it is damaged")
    answer = json.loads(answers[-1].removeprefix("ANSWER "))
    found = {int(index): tuple(shape) for index, shape in answer.get("shapes", {}).items()}
    return Trial(answer.get("refusal", ""), found)
