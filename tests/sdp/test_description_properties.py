"""Properties over generated descriptions and over any bytes at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdp import SdpError, SdpSyntaxError, SessionDescription
from sdp.attributes import ATTRIBUTES, Candidate
from sdp.fields import FIELDS
from sdp.lint import lint
from tests.sdp.strategies import (
    DESCRIPTIONS,
    WORDS,
)


def attempt(work: Callable[[Any], Any], value: object) -> tuple[SdpSyntaxError | None, Any]:
    """Our error, or what came of the work; any other error passes through and fails the test."""
    try:
        return None, work(value)
    except SdpSyntaxError as error:
        return error, None


@given(DESCRIPTIONS)
def test_text_in_is_text_out(text: str) -> None:
    """parse and str are each other's inverse, for text and for bytes."""
    description = SessionDescription.parse(text)
    assert str(description) == text
    assert bytes(SessionDescription.parse(text.encode())) == text.encode()
    assert SessionDescription.parse(text.replace("\r\n", "\n")) == description


@given(DESCRIPTIONS)
def test_every_view_is_a_value_that_round_trips_or_our_error(text: str) -> None:
    """A view that can be read writes a text that reads as the same view."""
    description = SessionDescription.parse(text)
    for section in (description, *description.media):
        for view in ATTRIBUTES.values():
            error, values = attempt(section.all, view)
            if error is not None:
                assert section.first_line <= error.line < section.first_line + len(section.lines)
                continue
            assert tuple(view.parse(str(value)) for value in values) == values
        for letter, field in FIELDS.items():
            for value in section.field_values(letter):
                try:
                    found = field.parse(value)
                except SdpSyntaxError:
                    continue
                assert field.parse(str(found)) == found


@given(DESCRIPTIONS)
def test_the_json_form_is_a_fixed_point(text: str) -> None:
    """Once in the shape, a description stays what it is there, also through JSON text."""
    first = SessionDescription.parse(text).to_dict()
    try:
        again = SessionDescription.from_dict(json.loads(json.dumps(first)))
    except SdpSyntaxError:
        return
    second = again.to_dict()
    assert SessionDescription.from_dict(second).to_dict() == second


@given(DESCRIPTIONS)
def test_lint_has_something_to_say_about_anything(text: str) -> None:
    """Every finding stands on a line of the text and names its RFC."""
    lines = text.count("\r\n")
    for finding in lint(text):
        assert 1 <= finding.line <= lines
        assert finding.message
        assert finding.reference


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda tail: b"v=0\r\n" + tail))
def test_bytes_from_strangers_raise_only_our_error(data: bytes) -> None:
    """Whatever comes in, it is read or refused."""
    error, description = attempt(SessionDescription.parse, data)
    if error is not None:
        assert error.line >= 1
        assert error.column >= 1
        return
    description.to_dict()
    assert lint(data)


@given(st.text(max_size=200) | st.text(max_size=100).map(lambda tail: "v=0\n" + tail))
def test_text_from_strangers_raises_only_our_error(text: str) -> None:
    """Text with any character, also half surrogates."""
    try:
        assert str(SessionDescription.parse(text)).startswith("v=0\r\n")
    except SdpSyntaxError:
        pass


@given(st.sampled_from([*ATTRIBUTES.values(), *FIELDS.values()]), st.text(max_size=80) | WORDS)
def test_values_from_strangers_raise_only_our_error(view: Any, value: str) -> None:
    """Each grammar alone, fed directly."""
    error, found = attempt(view.parse, value)
    if error is not None:
        assert 1 <= error.column <= len(value) + 1
        return
    if "\n" not in value and "\r" not in value:
        assert view.parse(str(found)) == found


@given(st.text(max_size=60))
def test_candidate_lines_from_strangers_raise_only_our_error(line: str) -> None:
    """What a browser trickles is a stranger's text too."""
    try:
        Candidate.parse_line("candidate:" + line)
    except SdpSyntaxError:
        pass


KEYS = st.sampled_from(
    [
        "media",
        "rtp",
        "origin",
        "name",
        "version",
        "direction",
        "invalid",
        "value",
        "type",
        "port",
        "protocol",
        "payloads",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_dictionaries_from_strangers_raise_only_our_error(data: dict[str, Any]) -> None:
    """Any JSON at all becomes a description or our error."""
    try:
        assert str(SessionDescription.from_dict(data)).startswith("v=0\r\n")
    except SdpError:
        pass
