"""Whose a certificate is, in the way of SIP (RFC 5922 section 7)."""

from __future__ import annotations

from gateway.net.names import covers
from tests.rows import by_row


@by_row(
    ("names", "host", "yes"),
    [
        ((("DNS", "sip.test"),), "sip.test", True),
        ((("DNS", "SIP.Test."),), "sip.TEST.", True),
        ((("DNS", "sip.test"),), "other.test", False),
        ((("DNS", "sip.test"),), "a.sip.test", False),
        ((("URI", "sip:sip.test"), ("DNS", "other.test")), "sip.test", True),
        ((("URI", "sip:sip.test"), ("DNS", "other.test")), "other.test", False),
        ((("URI", "sip:SIP.test"),), "sip.test", True),
        ((("URI", "sip:alice@sip.test"),), "sip.test", False),
        ((("URI", "sip:alice@sip.test"), ("DNS", "sip.test")), "sip.test", True),
        ((("URI", "https://sip.test/"), ("DNS", "sip.test")), "sip.test", True),
        ((("URI", "sip:\x00"), ("URI", "not a URI"), ("DNS", "sip.test")), "sip.test", True),
        ((("IP Address", "192.0.2.1"),), "192.0.2.1", True),
        ((("IP Address", "2001:DB8:0:0:0:0:0:1"),), "[2001:db8::1]", True),
        ((("DNS", "192.0.2.1"),), "192.0.2.1", False),
        ((("IP Address", "192.0.2.1"),), "192.0.2.2", False),
        ((), "sip.test", False),
    ],
)
def test_a_certificate_is_of_whom_it_names(names: tuple[tuple[str, str], ...], host: str, yes: bool) -> None:
    """SIP URIs of a whole domain count alone where there are any, then DNS names; addresses only as addresses."""
    assert covers({"subjectAltName": names}, host) is yes


@by_row(
    ("name", "host", "by_wildcard"),
    [
        ("*.sip.test", "a.sip.test", True),
        ("*.sip.test", "a.b.sip.test", False),
        ("*.sip.test", "sip.test", False),
        ("*.test", "sip.test", False),
        ("a*.sip.test", "ab.sip.test", False),
    ],
)
def test_a_wildcard_is_for_those_alone_who_want_it(name: str, host: str, by_wildcard: bool) -> None:
    """RFC 5922 section 7.2 has none; where they are wanted one stands for one label."""
    certificate = {"subjectAltName": (("DNS", name),)}
    assert not covers(certificate, host)
    assert covers(certificate, host, wildcards=True) is by_wildcard


def test_no_certificate_is_of_nobody() -> None:
    """A peer that showed none, or one that was not verified."""
    assert not covers({}, "sip.test")
