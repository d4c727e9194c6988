"""A search space as YAML with comments, to begin one's own from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from nasdepth.architecture import MAX_DECODER_WIDTH, MAX_INPUT, Attention, Reparam, Skip, Upsampling
from nasdepth.decoder_blocks import BLOCKS, Kernel
from nasdepth.families import MAX_WIDTH, MIN_WIDTH, families
from nasdepth.space.space import SearchSpace


def commented_yaml(space: SearchSpace, name: str) -> str:
    """A space as YAML whose comments say what each field may hold.

    Args:
        space: whose choices are written.
        name: of the new space.
    """
    definition = space.definition.model_dump(mode="json")
    return "\n".join(_lines(definition, name)) + "\n"


def _lines(definition: Mapping[str, Any], name: str) -> Iterator[str]:
    words = _comments()
    yield f"# Begun from the space {definition['name']}. Every field is one value, a list, or a range such as"
    yield "# {low: 8, high: 64, step: 8}. See what it holds: nasdepth space show --space FILE"
    yield f"name: {name}"
    yield "description: What this space is for."
    for section in ("input", "encoder", "decoder", "head"):
        yield f"{section}:"
        for field, values in definition[section].items():
            if comment := words.get(f"{section}.{field}"):
                yield from (f"  # {line}" for line in _folded(comment))
            yield f"  {field}: [{', '.join(map(_scalar, values))}]"


def _comments() -> dict[str, str]:
    blocks = ", ".join(BLOCKS)
    return {
        "input.height": f"pixels, multiples of 32 up to {MAX_INPUT}; every height goes with every width",
        "input.coordinates": "whether the encoder sees each pixel's place",
        "encoder.family": f"of {', '.join(families())}",
        "encoder.width": f"width multipliers, {MIN_WIDTH:g} to {MAX_WIDTH:g}",
        "encoder.stride": "of the deepest stage that is kept: 8, 16, 32",
        "decoder.skip": f"of {', '.join(get_args(Skip))}",
        "decoder.block": f"of {blocks}",
        "decoder.kernel": f"of {', '.join(map(str, get_args(Kernel)))}; what a block lacks is replaced",
        "decoder.width": f"channels, 1 to {MAX_DECODER_WIDTH}",
        "decoder.attention": f"of {', '.join(get_args(Attention))}",
        "decoder.upsampling": f"of {', '.join(get_args(Upsampling))}",
        "decoder.reparam": f"over-parameterisation in training, of {', '.join(get_args(Reparam))}",
        "head.stride": "of the prediction: 1, 2, 4, 8; the larger, the faster and coarser",
        "head.upsampling": "how the prediction grows to the output's size",
    }


def _folded(text: str, width: int = 100) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
