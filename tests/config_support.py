"""Configurations out of text, for the tests of every section."""

from __future__ import annotations

from pathlib import Path

from gateway.config import Config, load


def load_text(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})
