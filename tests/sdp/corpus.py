"""The descriptions that the tests of this room read: our own, and the shared corpora where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

OWN = Path(__file__).parent / "descriptions"
SHARED = Path(__file__).parents[2].parent / "shared" / "corpora"
FOLDERS = ("sdp-transform", "rfc4317", "aiortc-sdp")


def own() -> list[Path]:
    """Our own descriptions, written by hand."""
    return sorted(OWN.glob("*.sdp"))


def shared() -> list[Path]:
    """The shared corpora's descriptions; an empty list where they are not at hand."""
    return sorted(path for folder in FOLDERS for path in (SHARED / folder).glob("*.sdp"))


def every() -> list[Path]:
    """Both."""
    return own() + shared()


def name(path: Path) -> str:
    """A test's id for a file."""
    return f"{path.parent.name}/{path.stem}"


def need_shared() -> None:
    """Skip where the shared corpora are not at hand."""
    if not shared():
        pytest.skip("the shared corpora are not beside the repository (../shared/corpora)")
