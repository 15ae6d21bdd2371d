"""The types of the page's modules: their JSDoc, as TypeScript reads it; no build step comes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import peers
from tests.rows import by_row

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "gateway" / "web" / "static"
_VENV = ROOT / ".venv"
_TSC = _VENV / "typescript" / "node_modules" / "typescript" / "bin" / "tsc"


def _faults(project: Path, *more: str) -> list[str]:
    """Return the faults that the compiler finds."""
    node = peers.node(_TSC)
    done = subprocess.run([node, _TSC, "-p", project, *more], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


@by_row("project", ["jsconfig.json", "tests/web/client.jsconfig.json", "tests/web/worker.jsconfig.json"])
def test_the_pages_types_agree(project: str) -> None:
    """Every module of the page; those that are the client, usable alone, with a type for each of their parameters."""
    assert _faults(ROOT / project) == []


def test_a_name_that_is_not_there_is_found(tmp_path: Path) -> None:
    """By the same rules, in a copy of the page where a call has lost one of its fields."""
    shutil.copytree(STATIC, tmp_path / "gateway" / "web" / "static")
    shutil.copy(ROOT / "jsconfig.json", tmp_path)
    fields = tmp_path / "gateway" / "web" / "static" / "call-fields.js"
    fields.write_text(fields.read_text().replace("  digits = ", "  fingers = "))
    found = "\n".join(_faults(tmp_path / "jsconfig.json"))
    assert re.search(r"call\.js\(\d+,\d+\): error .*'digits' does not exist", found)


def test_no_module_of_the_page_is_longer_than_can_be_followed() -> None:
    """300 lines at most, but for the words of a language; none turns the compiler's eye away."""
    modules = {path.name: path.read_text() for path in STATIC.glob("*.js")}
    lines = {name: len(text.splitlines()) for name, text in modules.items() if not name.startswith("words.")}
    assert {name: count for name, count in lines.items() if count > 300} == {}
    assert [name for name, text in modules.items() if "@ts-" in text] == []
