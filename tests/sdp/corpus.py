"""The descriptions that the tests of this room read: our own, and published ones."""

from __future__ import annotations

from pathlib import Path

from tests.cases import cases

OWN = Path(__file__).parent / "descriptions"
PUBLISHED = ("sdp-transform", "rfc4317", "aiortc")


def own() -> list[Path]:
    """Our own descriptions, written by hand."""
    return sorted(OWN.glob("*.sdp"))


def published() -> dict[str, str]:
    """Return the descriptions of RFC 4317 and of the tests of others by `file/name`, with LF at their line ends."""
    return {f"{file}/{name}": text for file in PUBLISHED for name, text in cases(f"sdp/{file}.txt").items()}


def every() -> dict[str, str]:
    """Return both; the names of our own begin with `descriptions/`."""
    return {f"{path.parent.name}/{path.stem}": path.read_bytes().decode() for path in own()} | published()


def name(path: Path) -> str:
    """A test's id for a file."""
    return f"{path.parent.name}/{path.stem}"
