"""Where the figures of a pack come from."""

from __future__ import annotations

from nasdepth.latency.accuracy import Strict


class Source(Strict):
    """Where figures come from: what was used of it, its address, its licence."""

    used: str
    url: str
    licence: str
