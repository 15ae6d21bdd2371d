"""Documentation that is made from the code says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.call.diagram import diagram
from gateway.call.status import Cause
from tests.rows import by_row

ROOT = Path(__file__).parent.parent


def test_the_diagram_in_docs_is_the_table() -> None:
    """docs/calls.md shows what `python -m gateway.call.diagram` prints."""
    text = (ROOT / "docs" / "calls.md").read_text()
    assert f"```mermaid\n{diagram()}```" in text


@by_row("cause", list(Cause), ids=lambda cause: cause.word)
def test_every_cause_is_documented(cause: Cause) -> None:
    """docs/calls.md has a row for each cause with its numbers."""
    text = (ROOT / "docs" / "calls.md").read_text()
    assert f"| {cause.word} | {cause.status} | {cause.q850} | {cause.sentence} |" in text


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link of the README and of docs names a file that exists, or a page that the site makes."""
    menu = (ROOT / "mkdocs.yml").read_text()
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            made = target.startswith("reference/") and target in menu
            assert made or (document.parent / target).exists(), f"{document.name} links to {target}"


def test_no_table_is_cut_in_two() -> None:
    """What follows an empty line is shown as text with bars in it."""
    cut = []
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")):
        lines = ["", *re.sub(r"(?ms)^```.*?^```", "", document.read_text()).splitlines(), ""]
        for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
            if line.startswith("|") and not before.startswith("|") and not re.fullmatch(r"[|: -]+", after):
                cut.append(f"{document.name}: {line[:60]}")
    assert cut == []
