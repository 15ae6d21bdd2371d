"""The descriptions that the tests of this room read: our own, and the shared corpora where they are."""

from __future__ import annotations

from pathlib import Path

from tests.shared import corpus, find

OWN = Path(__file__).parent / "descriptions"
FOLDERS = ("sdp-transform", "rfc4317", "aiortc-sdp")


def own() -> list[Path]:
    """Our own descriptions, written by hand."""
    return sorted(OWN.glob("*.sdp"))


def shared() -> list[Path]:
    """The shared corpora's descriptions; an empty list where they are not at hand, which in CI is a failure."""
    folders = [folder for folder in map(find, FOLDERS) if folder is not None]
    return sorted(path for folder in folders for path in folder.glob("*.sdp"))


def every() -> list[Path]:
    """Both."""
    return own() + shared()


def name(path: Path) -> str:
    """A test's id for a file."""
    return f"{path.parent.name}/{path.stem}"


def need_shared() -> None:
    """Skip where the shared corpora are not at hand."""
    for folder in FOLDERS:
        corpus(folder)
