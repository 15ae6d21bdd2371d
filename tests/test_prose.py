"""README, documents, lessons and changes are read once: short sentences, plain words, and what proselint knows."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from proselint.checks import __register__
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

from tests.rows import by_row

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
]
LONGEST, LONGEST_PART = 60, 50
"""Words that a sentence may have, and what stands between two of its colons and semicolons."""
PLAIN = (
    r"utili[sz]e|leverag\w*|seamless\w*|effortless\w*|cutting-edge|state-of-the-art|best-in-class|world-class|blazing\w*|"
    r"powerful|simply|obviously|basically|in order to|please note|it should be noted|as mentioned above|a myriad|delve"
)
"""What says nothing, or says it with too many letters."""
NOT_OURS = {
    "typography.symbols.curly_quotes": "what is typed has straight ones",
    "typography.diacritical_marks": "resume is a verb here",
    "weasel_words.very": "the very address is that one and no other",
}
"""Checks of proselint that do not count, and why."""
BRITISH = {"for ever"}
"""Words that it takes for archaic."""

each = by_row("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def said(document: Path) -> str:
    """Its text line by line, without blocks of code, links' targets and markup; a word for each piece of code."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"^ *(`{3,}|~{3,}).*?^ *\1", blank, document.read_text(), flags=re.MULTILINE | re.DOTALL)
    numbers = iter(range(len(text)))
    text = re.sub(r"`[^`]*`", lambda match: f"code{next(numbers)}" + "\n" * match[0].count("\n"), text)
    return re.sub(r"\]\([^)\n]*\)|^ *<.*$", "", text, flags=re.MULTILINE)


def paragraphs(document: Path) -> list[str]:
    """Those of its prose, without tables and headings; each item of a list is one."""
    text = re.sub(r"^(?:\||#).*$", "", said(document), flags=re.MULTILINE)
    return [" ".join(one.split()) for one in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", text)]


def split(document: Path, stops: str) -> list[str]:
    """What stands between these, in each paragraph."""
    return [one for each in paragraphs(document) for one in re.split(rf"(?<=[{stops}])\s+", each) if one]


@each
def test_prose_is_short_and_plain(document: Path) -> None:
    """No sentence that has to be read twice, and no word that only fills, in tables either."""
    assert [one for one in split(document, ".?!") if len(one.split()) > LONGEST] == []
    assert [one for one in split(document, ".:;?!") if len(one.split()) > LONGEST_PART] == []
    assert re.findall(rf"^.*\b(?:{PLAIN})\b.*$", said(document), re.MULTILINE | re.IGNORECASE) == []


@functools.cache
def registered() -> None:
    """proselint keeps its checks in one registry, which takes each once."""
    CheckRegistry().register_many(__register__)


def found(document: Path) -> list[str]:
    """What proselint says of its words: whole ones, within a paragraph."""
    registered()
    text = said(document)
    kept = []
    for result, (line, _) in LintFile(document.name, text).lint(DEFAULT):
        begin, end = (place - 1 for place in result.span)
        words = text[begin:end].strip()
        begin = text.index(words, max(0, begin))
        around = text[max(0, begin - 1) : begin] + text[begin + len(words) : begin + len(words) + 1]
        part = "\n\n" in words or words.replace(" ", "").isdigit() or re.search(r"\w", around)
        if not part and result.check_path not in NOT_OURS and words.lower() not in BRITISH:
            kept.append(f"line {line}: {result.check_path}: {result.message}")
    return kept


@each
def test_proselint_finds_nothing(document: Path) -> None:
    """Cliches, redundancies, words said twice, archaisms, jargon, spelling and what else it looks for."""
    assert found(document) == []


@by_row(
    "text",
    ["word " * 61 + ".", f"{'word ' * 51}: x.", "It simply works.", "| a |\n|---|\n| It simply works. |"],
)  # fmt: skip
def test_what_is_long_or_fills_is_seen(tmp_path: Path, text: str) -> None:
    """In prose and in tables."""
    page = tmp_path / "page.md"
    page.write_text(text + "\n")
    with pytest.raises(AssertionError):
        test_prose_is_short_and_plain(page)


@by_row(
    "text",
    [
        "The call call ends.",
        "| a |\n|---|\n| It waits perchance. |",
        "- At the end of the day\n  it rings.",
        "The ATM machine is very unique.",
        "It is a 3:00 am in the morning call.",
    ],
)
def test_what_proselint_is_for_is_seen(tmp_path: Path, text: str) -> None:
    """In a paragraph, a table and a list."""
    page = tmp_path / "page.md"
    page.write_text(f"First `code` and `code`.\n\n```sh\nthe the\n```\n\n{text}\n")
    assert len(found(page)) >= 1


def test_what_is_right_is_left_alone(tmp_path: Path) -> None:
    """Code, headings before text that begins alike, numbers, and the beginnings of longer words."""
    page = tmp_path / "page.md"
    page.write_text(
        "# Rooms\n\nRooms `a` `a` [x](the/the) for everybody, RFC 3261 10.2, of 0 0.\n\n```\nthe the\n```\n"
    )
    assert found(page) == []
    test_prose_is_short_and_plain(page)
