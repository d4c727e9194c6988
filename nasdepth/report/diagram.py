"""A network as a block diagram: encoder down the left side, decoder up the right side, skips between."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nasdepth.architecture import Architecture
from nasdepth.searching.survey import Layer

_BOX_W, _BOX_H, _STEP, _GAP, _MARGIN = 210, 44, 58, 110, 8
_ENCODER, _DECODER, _ENDS = "#dbe9f6", "#fde4cf", "#eeeeee"


def block_diagram(architecture: Architecture, layers: Sequence[Layer]) -> str:
    """An architecture as an SVG that scales with the page.

    Args:
        layers: its stages, as `nasdepth.searching.survey.layers_of` gives them.
    """
    encoder = [one for one in layers if one.name.startswith("encoder")]
    decoder = [one for one in layers if one.name.startswith("decoder")]
    head = layers[-1]
    right = _MARGIN + _BOX_W + _GAP
    parts = [_box(_MARGIN, 0, "input", f"RGB, resized to {_hw(architecture)}", "", _ENDS)]
    rows: dict[tuple[int, int], int] = {}
    for row, layer in enumerate(encoder, 1):
        parts += [
            _down(_MARGIN, row),
            _box(_MARGIN, row, layer.name, layer.what, _shape(layer), _ENCODER, layer.mmacs),
        ]
        rows[layer.out_shape[1:]] = row
    bottom = len(encoder)
    parts.append(_line(_MARGIN + _BOX_W, _middle(bottom), right, _middle(bottom)))
    taken: dict[int, int] = {}
    previous = bottom
    for depth, (layer, spelt) in enumerate(zip(decoder, architecture.decoder, strict=True)):
        # at the height of the encoder's stage of its size, where that place is free
        row = min(rows.get(layer.out_shape[1:], bottom - depth), min(taken, default=bottom + 1) - 1)
        taken[row] = depth
        parts.append(_box(right, row, layer.name, str(spelt), _shape(layer), _DECODER, layer.mmacs))
        if depth:
            parts.append(_up(right, row, previous))
            source = rows.get(layer.out_shape[1:])
            if spelt.skip != "none" and source is not None:
                y = _middle(source)
                parts.append(_line(_MARGIN + _BOX_W, y, right, _middle(row), dashed=True))
                parts.append(_text(_MARGIN + _BOX_W + _GAP / 2, y - 5, spelt.skip, 11, "middle", "#555"))
        previous = row
    above = min(taken, default=1) - 1
    parts += [
        _up(right, above, previous),
        _box(right, above, "head", head.what, _shape(head), _ENDS, head.mmacs),
    ]
    first = min(above, 0)
    width = right + _BOX_W + _MARGIN
    height = (bottom - first + 1) * _STEP + _MARGIN
    return (
        f'<svg class="diagram" viewBox="0 {first * _STEP} {width} {height}" role="img" '
        f'aria-label="block diagram of the network" xmlns="http://www.w3.org/2000/svg">'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>'
        + "".join(parts)
        + "</svg>"
    )


def _hw(architecture: Architecture) -> str:
    return f"{architecture.input_height}x{architecture.input_width}"


def _shape(layer: Layer) -> str:
    channels, height, width = layer.out_shape
    return f"{channels} x {height} x {width}"


def _middle(row: int) -> float:
    return row * _STEP + _MARGIN + _BOX_H / 2


def _box(
    left: float, row: int, name: str, what: str, shape: str, color: str, mmacs: float | None = None
) -> str:
    top = row * _STEP + _MARGIN
    costs = f"{mmacs:.1f} MMAC" if mmacs is not None else ""
    title = escape(", ".join(filter(None, (name, what, shape, costs))))
    what = what if len(what) <= 32 else what[:31] + "…"
    return (
        f'<g><title>{title}</title><rect x="{left}" y="{top}" width="{_BOX_W}" height="{_BOX_H}" rx="5" '
        f'fill="{color}" stroke="#888"/>'
        + _text(left + 8, top + 17, name, 13, weight="bold")
        + _text(left + _BOX_W - 8, top + 17, shape, 11, "end", "#333")
        + _text(left + 8, top + 35, what, 11, "start", "#333")
        + "</g>"
    )


def _text(
    x: float,
    y: float,
    words: str,
    size: int,
    anchor: str = "start",
    color: str = "#111",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{color}" '
        f'font-weight="{weight}" font-family="system-ui, sans-serif">{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#555"{dash} marker-end="url(#tip)"/>'


def _down(left: float, row: int) -> str:
    x = left + _BOX_W / 2
    return _line(x, (row - 1) * _STEP + _MARGIN + _BOX_H, x, row * _STEP + _MARGIN)


def _up(left: float, row: int, below: int) -> str:
    x = left + _BOX_W / 2
    return _line(x, below * _STEP + _MARGIN, x, row * _STEP + _MARGIN + _BOX_H)
