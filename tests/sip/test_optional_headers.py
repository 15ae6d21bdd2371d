"""No header that a request does not need can have it refused, whatever stands in it (RFC 3261 8.2)."""

from __future__ import annotations

import random

import pytest

from tests.fuzzing import headers
from tests.fuzzing.headers import GARBLED, OF_RESPONSE, OPTIONAL, QUESTIONS, Question


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: f"{one}{' with SDP' if one.body else ''}")
def test_no_optional_header_has_a_request_refused(question: Question) -> None:
    """Each of them in turn empty, or at every value that says nothing."""
    faults = [headers.fault(question, header, value) for header in OPTIONAL for value in GARBLED]
    assert [one for one in faults if one is not None] == []


@pytest.mark.parametrize("status", [180, 183, 200])
def test_no_optional_header_of_an_answer_ends_the_call(status: int) -> None:
    """The call stands: it is acknowledged, and no BYE follows."""
    faults = [headers.answered_fault(header, value, status) for header in OF_RESPONSE for value in GARBLED]
    assert [one for one in faults if one is not None] == []


def test_a_request_is_served_without_any_optional_header() -> None:
    """Each of them in turn left out, so that none of the list is needed."""
    faults = [headers.fault(question, header, None) for question in QUESTIONS for header in OPTIONAL]
    assert [one for one in faults if one is not None] == []


@pytest.mark.parametrize("seed", range(4))
def test_mutations_by_chance_are_served_as_well(seed: int) -> None:
    """The same hunt as `make fuzz`, for a hundred mutations."""
    hunt = headers.hunt(random.Random(seed))
    assert [fault for fault in (next(hunt) for _ in range(100)) if fault is not None] == []
