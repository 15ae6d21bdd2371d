"""No header that a request does not need can have it refused, whatever stands in it (RFC 3261 8.2)."""

from __future__ import annotations

import random

import pytest

from tests.fuzzing import headers
from tests.fuzzing.headers import GARBLED, OF_RESPONSE, OPTIONAL, QUESTIONS, Question
from tests.rows import by_row

pytestmark = pytest.mark.no_cover


@by_row("question", QUESTIONS, ids=lambda one: f"{one}{' with SDP' if one.body else ''}")
def test_no_optional_header_has_a_request_refused(question: Question) -> None:
    """Each of them in turn empty, or at every value that says nothing."""
    assert [fault for header in OPTIONAL for fault in headers.faults(question, header, GARBLED)] == []


@by_row("status", [180, 183, 200])
def test_no_optional_header_of_an_answer_ends_the_call(status: int) -> None:
    """The call stands: it is acknowledged, and no BYE follows."""
    faults = [headers.answered_fault(header, value, status) for header in OF_RESPONSE for value in GARBLED]
    assert [one for one in faults if one is not None] == []


def test_a_request_is_served_without_any_optional_header() -> None:
    """Each of them in turn left out, so that none of the list is needed."""
    faults = [headers.fault(question, header, None) for question in QUESTIONS for header in OPTIONAL]
    assert [one for one in faults if one is not None] == []


NO_HEADERS = (
    "Subject Lunch",
    ": Lunch",
    "Sub ject: Lunch",
    "Xy\u00e4ndor: 1",
    "Subject Lunch\r\n and tea",
    "@@@: x",
    "U" * 200 + ": x",
)
"""Lines that are no header, and that nobody takes for one that decides."""


@by_row("question", QUESTIONS, ids=lambda one: f"{one}{' with SDP' if one.body else ''}")
def test_a_line_that_is_no_header_counts_as_absent(question: Question) -> None:
    """So does a second Max-Forwards or Content-Length with the value of the first."""
    again = ("Max-Forwards: 70", f"Content-Length: {len(question.body)}")
    faults = [headers.line_fault(question, line) for line in (*NO_HEADERS, *again)]
    assert [one for one in faults if one is not None] == []


@by_row("status", [180, 183, 200])
def test_a_line_that_is_no_header_loses_no_answer(status: int) -> None:
    """The call stands: it is acknowledged, and no BYE follows."""
    faults = [headers.answered_line_fault(line, status) for line in NO_HEADERS]
    length = len(headers.SDP) if status == 200 else 0
    faults.append(headers.answered_line_fault(f"Content-Length: {length}", status))
    assert [one for one in faults if one is not None] == []


@by_row(
    "line",
    [
        *("Content-Length 5", "Content-Length\x0b: 5", "Content -Length: 5", "l\u00a0: 5", "Content-Length: 5"),
        *("Max-Forwards: 7", "To\x0b: <sip:b@192.0.2.1>;tag=x", "X Via: x", "Requ ire: x", "Subject Lunch\rTo: x"),
    ],
)
def test_a_line_another_reader_takes_for_a_header_is_refused(line: str) -> None:
    """No check of ours or of a peer behind us can be gone round by it."""
    assert headers.line_fault(QUESTIONS[0], line) == f"INVITE: {line!r} gets [400]"


@by_row("seed", range(4))
def test_mutations_by_chance_are_served_as_well(seed: int) -> None:
    """The same hunt as `make fuzz`, for a hundred mutations."""
    hunt = headers.hunt(random.Random(seed))
    assert [fault for fault in (next(hunt) for _ in range(100)) if fault is not None] == []
