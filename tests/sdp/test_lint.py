"""Lint: each rule finds what it is for, on its line, and a clean description has no finding."""

from __future__ import annotations

from sdp import Limits, SessionDescription
from sdp.lint import RULES, Severity, Stumbles, lint
from sdp.lint.reading import reference_of
from tests.rows import by_row
from tests.sdp import corpus
from tests.sdp.lint_cases import BROWSER, CASES, KEY, PHONE, SHA256


def found(text: str | bytes) -> list[tuple[str, int]]:
    return [(finding.code, finding.line) for finding in lint(text)]


def test_clean_descriptions_have_no_findings() -> None:
    """Neither the phone's nor the browser's."""
    assert found(PHONE) == []
    assert found(BROWSER) == []


@by_row(("code", "text", "old", "new", "line"), CASES, ids=[f"{case[0]} {case[4]}" for case in CASES])
def test_each_rule_finds_what_it_is_for_and_nothing_else(code: str, text: str, old: str, new: str, line: int) -> None:
    """One thing wrong in a clean description is one finding on that line."""
    assert text.count(old) == 1
    assert found(text.replace(old, new)) == [(code, line)]


SRTP = PHONE.replace("RTP/AVP", "RTP/SAVP")


@by_row(
    ("code", "crypto"),
    [
        ("crypto-tag-twice", f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
        ("crypto-key-length", f"2 AEAD_AES_256_GCM inline:{KEY}"),
        ("crypto-suite", f"2 AES_CM_128_NULL_AUTH inline:{KEY}"),
        ("crypto-mki", f"2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"),
    ],
)
def test_keys_are_looked_at(code: str, crypto: str) -> None:
    """What is wrong with a second a=crypto line beside a good one."""
    good = f"{SRTP}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"
    assert found(good) == []
    assert found(f"{good}a=crypto:{crypto}\n") == [(code, 14)]


def test_a_bundle_shares_one_payload_type_space() -> None:
    """The same number for two codecs in bundled sections (RFC 8843 section 9.1)."""
    text = BROWSER.replace("SAVPF 96 97\n", "SAVPF 96 97 111\n").replace(
        "a=rtcp-fb:96", "a=rtpmap:111 VP9/90000\na=rtcp-fb:96"
    )
    assert found(text) == [("bundle-payload-types", 24)]
    assert found(text.replace("a=group:BUNDLE 0 1 2", "a=group:LS 0 1 2"))[-1] != ("bundle-payload-types", 24)


def test_sections_without_a_bundle_each_need_their_transport() -> None:
    """Without BUNDLE no section borrows ICE, DTLS or mux from another; bundle-only ones do."""
    text = BROWSER.replace("a=group:BUNDLE 0 1 2\n", "")
    expected = [(code, line) for line in (16, 31) for code in ("no-ice", "no-ice", "no-fingerprint", "no-setup")]
    assert found(text) == expected
    assert found(text.replace("m=application 9", "m=application 0").replace("m=video 9", "m=video 0")) == []
    bundled = text.replace("a=mid:1", "a=mid:1\na=bundle-only").replace("m=video 9", "m=video 0")
    assert {line for _, line in found(bundled)} == {32}


def test_a_browser_section_without_mid_stumbles() -> None:
    """It still has its own transport."""
    text = BROWSER.replace("a=mid:0\n", "").replace("BUNDLE 0 1 2", "BUNDLE 1 2")
    assert ("no-mid", 6) in found(text)


def test_session_level_credentials_hold() -> None:
    """Firefox's fingerprint and aiortc's ICE credentials stand at session level."""
    lines = (
        "a=ice-ufrag:abcd\n",
        "a=ice-pwd:abcdefghijklmnopqrstuv\n",
        f"a=fingerprint:sha-256 {SHA256}\n",
        "a=setup:actpass\n",
    )
    text = BROWSER
    for line in lines:
        text = text.replace(line, "").replace("m=audio", line + "m=audio")
    assert found(text) == []


def test_a_secure_phone_section_may_have_a_fingerprint() -> None:
    """DTLS-SRTP without ICE needs no a=crypto."""
    dtls = PHONE.replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
    assert found(dtls) == [("no-keys", 6)]
    assert found(dtls + f"a=fingerprint:sha-256 {SHA256}\n") == []
    assert found(dtls.replace("t=0 0\n", f"t=0 0\na=fingerprint:sha-256 {SHA256}\n")) == []


def test_connection_lines_that_no_phone_section_uses_are_not_judged() -> None:
    """A session address that every section replaces does not matter, nor does a rejected section's."""
    text = PHONE.replace("c=IN IP4 203.0.113.5", "c=IN IP4 10.0.0.1").replace(
        "a=rtpmap:0", "c=IN IP4 203.0.113.5\na=rtpmap:0"
    )
    assert found(text) == []
    assert found(PHONE + "m=video 0 RTP/AVP 31\nc=IN IP4 10.0.0.1\n") == []


def test_lengthy_phone_descriptions_are_warned_about() -> None:
    """RFC 3261 section 18.1.1: a request over 1300 bytes is not for UDP; browsers do not care."""
    long = "a=x-long:" + "x" * 1300 + "\n"
    assert found(PHONE + long) == [("too-long-for-udp", 1)]
    assert found(BROWSER + long) == []


def test_a_description_without_media_is_told() -> None:
    """Nothing can come of it."""
    assert found(PHONE.partition("m=")[0]) == [("no-media", 1)]


def test_what_cannot_be_read_is_one_error() -> None:
    """With the line, and what was expected there; limits hold."""
    (finding,) = lint("v=1\n")
    assert (finding.severity, finding.line, finding.code) == (Severity.ERROR, 1, "unreadable")
    assert finding.message == 'column 1: expected "v=0"'
    assert finding.reference == "RFC 8866 section 9"
    assert [finding.code for finding in lint(PHONE, Limits(size=10))] == ["unreadable"]


def test_built_descriptions_have_line_numbers_too() -> None:
    """A description made by a program is linted as it would be written."""
    description = SessionDescription.parse(PHONE)
    edited = description.with_media([description.media[0].with_attribute("recvonly")])
    assert [(finding.code, finding.line) for finding in lint(edited)] == [("direction-twice", 13)]


def test_findings_are_for_machines_too() -> None:
    """Plain values under plain names."""
    (finding,) = lint(PHONE.replace("a=maxptime:60", "a=maxptime:10"))
    assert finding.to_dict() == {
        "severity": "warning",
        "line": 10,
        "code": "ptime-above-maxptime",
        "stumbles": "browser and phone",
        "message": "ptime is above maxptime 10",
        "reference": "RFC 8866 section 6.5",
    }
    assert finding.stumbles is Stumbles.BOTH


def test_every_rule_is_tested_and_named_once() -> None:
    """No rule without its case here."""
    codes = [rule.code for rule in RULES]
    assert len(codes) == len(set(codes))
    named = {case[0] for case in CASES} | {
        "no-mid",
        "bundle-payload-types",
        "crypto-tag-twice",
        "crypto-key-length",
        "crypto-suite",
        "crypto-mki",
        "no-media",
        "too-long-for-udp",
    }
    assert named == set(codes)


def test_references_come_from_the_views() -> None:
    """A malformed value is told with the RFC of its view; without documentation RFC 8866 stands."""
    (finding,) = lint(PHONE.replace("a=ptime:20", "a=candidate:1"))
    assert finding.reference == "RFC 8839 section 5.1"
    assert reference_of(type("Bare", (), {"__doc__": None})) == "RFC 8866 section 6"


REFUSED = {
    "rfc8829-simple-offer": {"no-rtcp-mux"},
    "rfc8829-simple-answer": {"no-rtcp-mux"},
}
"""RFC 8829 leaves a=rtcp-mux out of bundled sections; Chromium refuses them without."""


def test_what_products_send_is_not_refused() -> None:
    """None of our products' descriptions has an error, only warnings."""
    for path in corpus.own():
        errors = {finding.code for finding in lint(path.read_bytes()) if finding.severity is Severity.ERROR}
        assert errors == REFUSED.get(path.stem, set()), path.name
