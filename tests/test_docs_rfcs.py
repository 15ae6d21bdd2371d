"""docs/rfc.md claims what code and tests name, and leaves out nothing that they do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from gateway.config import Config
from scripts.site import rfcs
from tests.rows import by_row

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "rfc.md").read_text()
CODE = rfcs.places(rfcs.CODE)
TESTS = rfcs.places(rfcs.TESTS)

Row = tuple[set[int], str]
"""The RFCs of a row, and the whole of it."""


def rows(text: str) -> list[Row]:
    """Those of the page's tables of what there is."""
    tables = text.partition("## Not supported")[0]
    found = re.findall(r"^(\| (?!RFC |---)([^|]+) \| .*)$", tables, re.MULTILINE)
    return [({int(one) for one in re.findall(r"(?<![\d.])\d{4,5}(?![\d.])", first)}, row) for row, first in found]


def without(listed: Iterable[Row], named: Iterable[rfcs.Place]) -> list[str]:
    """Rows of which none of these places names an RFC."""
    known = {rfc for rfc, _, _ in named}
    return [row for numbers, row in listed if numbers and not numbers & known]


def unlisted(named: Iterable[rfcs.Place], text: str) -> set[int]:
    """RFCs that are named and stand nowhere on the page."""
    return {rfc for rfc, _, _ in named if not re.search(rf"(?<![\d.]){rfc}(?![\d]|\.\d)", text)}


def test_what_the_page_claims_is_named_by_the_code() -> None:
    """Each row has an RFC to which something of ours refers; one that nothing does is seen."""
    listed = rows(PAGE)
    assert len(listed) > 90
    assert len([numbers for numbers, _ in listed if not numbers]) <= 1  # REMB is a draft
    assert without(listed, CODE) == []
    assert without([({4662}, "eventlist")], CODE) == ["eventlist"]


def test_what_the_page_claims_is_named_by_a_test() -> None:
    """ "Yes" means tested: each row has an RFC that a test names, but for the smaller pieces."""
    claimed = rows(PAGE.partition("## Smaller pieces")[0])
    assert len(claimed) > 80
    assert without(claimed, TESTS) == []


def test_what_the_code_names_is_on_the_page() -> None:
    """Every RFC of a docstring or a comment; one that the page forgets is seen."""
    assert len({rfc for rfc, _, _ in CODE}) > 150
    assert unlisted(CODE, PAGE) == set()
    assert unlisted([(3261, "", "x"), (9999, "", "x")], PAGE) == {9999}
    assert unlisted([(3261, "", "x")], "| 3261.5 | 13261 |") == {3261}


@by_row(
    ("text", "named"),
    [
        ("(RFC 3261 12.2.2, 17.1)", [(3261, "12.2.2"), (3261, "17.1")]),
        ("RFC 8866 section 6.6.", [(8866, "6.6")]),
        ("RFC 4574, 4796 say", [(4574, ""), (4796, "")]),
        ("(RFC 3261 18.1.1, RFC 3581 4)", [(3261, "18.1.1"), (3581, "4")]),
        ("RFC 3550 A.1", [(3550, "A.1")]),
        ("RFC 2543 appendix B.5", [(2543, "B.5")]),
        ("RFC 6665 sends a NOTIFY", [(6665, "")]),
        ("RFC 5626, 1000 ms", [(5626, "")]),
        ("RFC2833_INBAND, RFCs", []),
    ],
)
def test_sections_are_read(text: str, named: list[tuple[int, str]]) -> None:
    """As they are written here; what is no section is none."""
    assert [(rfc, section) for rfc, section, _ in rfcs.named(f'"""{text}"""', "x.py")] == named


def test_a_section_is_named_by_the_class_or_function_that_has_it() -> None:
    """The innermost one; a file alone where it stands in none."""
    text = '"""RFC 1000"""\nclass Outer:\n    """RFC 1001 2"""\n    def inner(self):\n        pass  # RFC 1002\n'
    assert list(rfcs.named(text, "x.py")) == [
        (1000, "", "x.py"), (1001, "2", "x.py: Outer"), (1002, "", "x.py: inner"),
    ]  # fmt: skip


def test_the_page_by_section_has_what_the_code_names() -> None:
    """Every RFC with its subject, every section once, in order."""
    page = rfcs.page()
    parts = dict(re.findall(r"^## RFC (\d+)\n\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(map(int, parts)) == {rfc for rfc, _, _ in CODE}
    assert [rfc for rfc, part in parts.items() if part.startswith("\n")] == []
    sections = re.findall(r"^\| \[([^]]+)\]", parts["3261"], re.MULTILINE)
    assert len(sections) == len(set(sections)) > 80
    assert sections.index("8.2.2.2") < sections.index("10.3") < sections.index("17.1.1.3")


def test_event_packages_and_algorithms_are_all_listed() -> None:
    """By name, as the code has them."""
    served = (ROOT / "gateway" / "people" / "sip" / "subscriptions.py").read_text()
    packages = re.findall(r'^ +"([\w-]+)": _Package\(', served, re.MULTILINE)
    assert len(packages) == 4
    [listed] = re.findall(r"outside calls ((?:`[\w-]+`(?:, )?)+) for users", PAGE)
    assert set(re.findall(r"`([\w-]+)`", listed)) == set(packages)
    [digest] = [row for numbers, row in rows(PAGE) if 7616 in numbers]
    algorithms = Config().sip.registration.digest_algorithms
    assert set(re.findall(r"MD5|SHA-512-256|SHA-256", digest.partition(";")[0])) == {one.upper() for one in algorithms}
