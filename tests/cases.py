"""Published descriptions, messages and packets in tests/data; where they are from stands at the head of each file."""

from __future__ import annotations

import re
from pathlib import Path

DATA = Path(__file__).parent / "data"


def cases(file: str) -> dict[str, str]:
    """Return the texts of one file by name, in order; a line `=== NAME` begins each, and lines end with LF."""
    _, *parts = re.split(r"^=== (.*)\n", (DATA / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))
