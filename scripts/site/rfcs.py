"""Where code and tests name which section of which RFC, read from their docstrings and comments."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("gateway", "sdp", "plane/src")
TESTS = ("tests", "plane/tests")

_SECTION = r"(?:\d{1,2}|[A-Z])(?:\.\d{1,2})+|\d{1,2}"
_NUMBER = r"\d{3,5}(?![\d.]*\d)"
NAMED = re.compile(
    rf"RFCs?\s+(?P<rfc>{_NUMBER})"
    rf"(?P<others>(?:(?:,|\s+and|\s+or)\s+\d{{4,5}}(?![\d.]|\s*(?:ms|s|calls)\b))*)"
    rf"(?:\s+(?:sections?\s+|appendix\s+)?(?P<first>[A-Z]?(?:{_SECTION})(?![\w]))"
    rf"(?P<more>(?:(?:,|\s+and|\s+to)\s+(?:[A-Z]?(?:\d{{1,2}}|[A-Z])(?:\.\d{{1,2}})+)(?![\w]))*))?"
)
"""RFC 3261 12.2.2, 17.1; RFC 8866 section 6; RFC 4574, 4796; RFC 2543 appendix B.5."""

Place = tuple[int, str, str]
"""The RFC, its section ("" for the whole), and who names it."""


@functools.cache
def places(folders: tuple[str, ...]) -> tuple[Place, ...]:
    """All that these folders name."""
    files = [file for folder in folders for file in sorted((ROOT / folder).glob("**/*"))]
    read = [file for file in files if file.suffix in (".py", ".rs", ".js")]
    return tuple(place for file in read for place in named(file.read_text(), file.relative_to(ROOT).as_posix()))


def named(text: str, path: str) -> Iterator[Place]:
    """What the text of one file names; in Python by class or function."""
    matches = [*NAMED.finditer(text)]
    spans = _spans(text) if matches and path.endswith(".py") else []
    for match in matches:
        line = text.count("\n", 0, match.start()) + 1
        within = [name for first, last, name in spans if first <= line <= last]
        where = f"{path}: {within[-1]}" if within else path
        first = match["first"] or ""
        sections = [first, *re.findall(r"[A-Z]?[\d.]*\d", match["more"] or "")]
        for section in sections:
            yield int(match["rfc"]), section, where
        for other in re.findall(r"\d{4,5}", match["others"] or ""):
            yield int(other), "", where


def _spans(text: str) -> list[tuple[int, int, str]]:
    """First and last line of each class and function, and its name; what is within another comes after it."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.lineno, node.end_lineno or node.lineno, node.name)
            for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]  # fmt: skip


def subjects() -> dict[int, str]:
    """What docs/rfc.md calls each RFC: the subject of the first row that is about it, else of one that names it."""
    found: dict[int, str] = {}
    text = (ROOT / "docs" / "rfc.md").read_text()
    rows = re.findall(r"^(\| (?!RFC |---)([^|]+) \| ([^|]+) \|.*)$", text, re.MULTILINE)
    for about in (1, 0):
        for row in rows:
            for number in re.findall(r"(?<![\d.])\d{4,5}(?!\d)", row[about]):
                found.setdefault(int(number), row[2])
    return found


def page() -> str:
    """The page of the site: RFC by RFC, each section with the code that names it and the tests that do."""
    code, tests = _sorted(CODE), _sorted(TESTS)
    called = subjects()
    said = "What docstrings and comments of the code and of the tests name; in words it is at [RFCs](../rfc.md)."
    lines = ["# RFCs by section", "", said, ""]
    for rfc in sorted(code):
        lines += [f"## RFC {rfc}", "", called.get(rfc, ""), "", "| section | code | tests |", "|---|---|---|"]
        for section in sorted({*code[rfc], *tests.get(rfc, {})}, key=_order):
            link = f"https://www.rfc-editor.org/rfc/rfc{rfc}" + _anchor(section)
            cells = (", ".join(sorted(by.get(rfc, {}).get(section, ()))) for by in (code, tests))
            lines.append(f"| [{section or 'whole'}]({link}) | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _sorted(folders: tuple[str, ...]) -> dict[int, dict[str, set[str]]]:
    """By RFC and by section, who names it."""
    found: dict[int, dict[str, set[str]]] = {}
    for rfc, section, where in places(folders):
        file, _, name = where.partition(": ")
        found.setdefault(rfc, {}).setdefault(section, set()).add(f"`{file}`" + (f" {name}" if name else ""))
    return found


def _order(section: str) -> list[tuple[int, str]]:
    """2 before 10, and appendices after both."""
    return [(int(part), "") if part.isdecimal() else (1000, part) for part in section.split(".") if part]


def _anchor(section: str) -> str:
    if not section:
        return ""
    return f"#{'section' if section[0].isdecimal() else 'appendix'}-{section}"
