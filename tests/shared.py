"""The corpora beside the repository (../shared/corpora): found, or their absence told; in CI it is a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def find(name: str) -> Path | None:
    """The folder of one corpus, None where it is not at hand; a failure where CI is set."""
    folder = CORPORA / name
    if folder.is_dir():
        return folder
    if os.environ.get("CI"):
        pytest.fail(f"test data shared/corpora/{name} is missing")
    return None


def corpus(name: str) -> Path:
    """The folder of one corpus; skips the test where it is not at hand, and fails it in CI."""
    folder = find(name)
    if folder is None:
        pytest.skip(f"shared/corpora/{name} is not beside the repository")
    return folder
