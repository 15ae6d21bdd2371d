"""SIP, SIPS and TEL URIs: reading, writing, comparing, and the canonical address of record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.uri import Uri
from tests.rows import by_row


@by_row(
    "text",
    [
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sips:1212@gateway.com",
        "sip:alice@192.0.2.4",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:[2001:db8::10]:5070",
        "sip:bob@[2001:db8::9:1];lr",
        "sip:sips%3Auser%40example.com@example.net",
        "sip:%00@host5.example.com",
        "sip:*98#@pbx.example",
        "tel:+1-201-555-0123;phone-context=example.com",
        "urn:service:sos",
        "http://www.example.com/page?x=1",
        "sip:host_with_underscore",
        "sip:alice@p2.atlanta.example.com;maddr=239.255.255.1;ttl=15",
    ],
)
def test_reading_and_writing_gives_the_text_back(text: str) -> None:
    """str after parse is the identity."""
    assert str(Uri.parse(text)) == text


@by_row(
    "text",
    [
        "",
        "alice",
        "sip:",
        "sip:alice@",
        "sip:a@b@c",
        "sip:alice@exa mple.com",
        "sip:alice@example.com:port",
        "sip:alice@example.com:65536",
        "sip:alice@example.com:123456",
        "sip:alice@example.com;=x",
        "sip:alice@example.com; lr",
        "sip:alice@example.com?",
        "sip:alice@example.com?a",
        "sip:al%ice@example.com",
        "sip:al%4@example.com",
        "sip:[2001:db8::1",
        "sip:älice@example.com",
        'sip:alice"@example.com',
        "<sip:alice@example.com>",
        " sip:alice@example.com",
        "sip:alice@example.com\r\n",
        "sip:alice@example.com\x00",
        "tel:call-me",
        "http://a b",
        "1sip:x",
    ],
)
def test_a_malformed_uri_is_a_syntax_error(text: str) -> None:
    """What the grammar does not give is refused with 400."""
    with pytest.raises(SipSyntaxError) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


def test_the_parts_are_where_they_belong() -> None:
    """User, password, host, port, parameters and headers are told apart."""
    uri = Uri.parse("sip:al%69ce:pw@Example.COM:5070;transport=TCP;lr;x=%41?Replaces=a%40b%3Bto-tag%3D1")
    assert (uri.user, uri.username, uri.password, uri.host, uri.port) == ("al%69ce", "alice", "pw", "Example.COM", 5070)
    assert uri.transport == "tcp"
    assert uri.is_loose_router
    assert uri.param("X") == "A"
    assert uri.param("absent") is None
    assert uri.header("replaces") == "a@b;to-tag=1"
    assert uri.header("absent") is None


def test_a_semicolon_before_the_at_sign_belongs_to_the_user() -> None:
    """RFC 4475 3.1.1.9: what looks like parameters is part of the user name."""
    uri = Uri.parse("sip:user;par=u%40example.net@example.com")
    assert (uri.username, uri.params) == ("user;par=u@example.net", ())


EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("tel:+1-201-555-0123", "tel:+12015550123"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:a@b.c", "sips:a@b.c"),
    ("sip:b.c", "sip:a@b.c"),
    ("sip:a:x@b.c", "sip:a:y@b.c"),
    ("sip:null-%00@b.c", "sip:null-%00%00@b.c"),
]


@by_row(("left", "right"), EQUAL)
def test_equivalent_uris_match_both_ways(left: str, right: str) -> None:
    """The examples of RFC 3261 19.1.4 that are equivalent."""
    assert Uri.parse(left).matches(Uri.parse(right))
    assert Uri.parse(right).matches(Uri.parse(left))


@by_row(("left", "right"), DIFFERENT)
def test_different_uris_do_not_match(left: str, right: str) -> None:
    """The examples of RFC 3261 19.1.4 that are not, and some near them."""
    assert not Uri.parse(left).matches(Uri.parse(right))
    assert not Uri.parse(right).matches(Uri.parse(left))


def test_equivalence_is_not_transitive() -> None:
    """RFC 3261 19.1.4 says so, hence `matches` and not `==`."""
    plain, on, off = (Uri.parse(f"sip:carol@chicago.com{p}") for p in ("", ";security=on", ";security=off"))
    assert plain.matches(on)
    assert plain.matches(off)
    assert not on.matches(off)


@by_row(
    ("text", "aor"),
    [
        ("sip:alice@Example.COM:5070;transport=tcp;user=phone?x=y", "sip:alice@example.com"),
        ("sips:%61lice@example.com", "sip:alice@example.com"),
        ("sip:null-%00-null@example.com", "sip:null-%00-null@example.com"),
        ("sip:a%20b@example.com", "sip:a%20b@example.com"),
        ("sip:Alice@example.com", "sip:Alice@example.com"),
        ("sip:example.com", "sip:example.com"),
        ("tel:+1-201-555-0123;phone-context=x", "tel:+12015550123"),
        ("urn:service:sos", "urn:service:sos"),
    ],
)
def test_an_address_of_record_has_one_spelling(text: str, aor: str) -> None:
    """Scheme, port, parameters and needless escapes do not tell users apart (RFC 3261 10.3 step 5)."""
    assert Uri.parse(text).aor == aor


def test_foreign_text_is_escaped_into_a_uri() -> None:
    """A user name from elsewhere cannot leave the user part."""
    uri = Uri.of("a b@c>;x\r\n\0é", "example.com", 5060, params=(("x", "1;2>"), ("lr", None)))
    assert Uri.parse(str(uri)).username == "a b@c>;x\r\n\0é"
    assert Uri.parse(str(uri)).param("x") == "1;2>"
    assert uri.is_loose_router
    assert str(Uri.of(None, "::1")) == "sip:[::1]"


@by_row(("host", "port"), [("exa mple", None), ("a>b", None), ("", None), ("a;b", None), ("a", 70000)])
def test_a_bad_host_or_port_is_not_built(host: str, port: int | None) -> None:
    """Our own mistakes are build errors."""
    with pytest.raises(SipBuildError):
        Uri.of("a", host, port)
    with pytest.raises(SipBuildError):
        Uri.of("a", "b").with_param("bad name", "1")


def test_uri_headers_can_be_added_and_taken_off() -> None:
    """A Refer-To carries Replaces; a Request-URI carries nothing of the kind."""
    uri = Uri.parse("sip:a@b;method=INVITE;x=1").with_header("Replaces", "id@h;to-tag=1;from-tag=2")
    assert str(uri) == "sip:a@b;method=INVITE;x=1?Replaces=id%40h%3Bto-tag%3D1%3Bfrom-tag%3D2"
    assert str(uri.without_headers()) == "sip:a@b;x=1"
    assert uri.without_param("X").param("x") is None
    plain = Uri.parse("sip:a@b")
    assert plain.without_headers() is plain


@given(st.text(max_size=60))
def test_any_text_gives_a_uri_or_a_syntax_error(text: str) -> None:
    """Whatever is read is written back unchanged, apart from the scheme's case."""
    try:
        uri = Uri.parse(text)
    except SipSyntaxError:
        return
    scheme, _, rest = text.partition(":")
    assert str(uri) == f"{scheme.lower()}:{rest}"


def test_a_uri_has_at_most_4096_characters() -> None:
    """One more is answered 414 (RFC 3261 section 21.4.11)."""
    longest = f"sip:{'u' * 4090}@h"
    assert str(Uri.parse(longest)) == longest
    with pytest.raises(SipSyntaxError) as caught:
        Uri.parse(f"{longest}h")
    assert caught.value.status == 414


@given(st.text("sip:alce@.;?&=%40[]123", max_size=60).map(lambda text: f"sip:{text}"))
def test_reading_is_stable(text: str) -> None:
    """parse after str is the identity, and a URI matches itself."""
    try:
        uri = Uri.parse(text)
    except SipSyntaxError:
        return
    assert Uri.parse(str(uri)) == uri
    assert uri.matches(uri)
    assert Uri.parse(uri.aor).aor == uri.aor


@given(st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable()))
def test_any_user_name_survives_escaping(user: str) -> None:
    """`of` and `username` are inverse."""
    assert Uri.parse(str(Uri.of(user, "example.com"))).username == user
