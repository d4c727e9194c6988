"""Keeping a runtime's chatter off standard error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = (b"INFO: ", b"VERBOSE: ")


@contextmanager
def without_info_lines() -> Iterator[None]:
    """Leave out what native code writes to standard error as INFO; the rest follows when the block ends."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            os.write(2, b"".join(line for line in said if not line.startswith(_CHATTER)))
