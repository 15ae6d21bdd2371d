"""The header list and the typed header values."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.addresses import CSeq, NameAddr, Via
from gateway.sip.message.fields import COMPACT_FORMS, Headers
from gateway.sip.message.grammar import param_value, quote, read_tokens, unquote
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import (
    AuthValue,
    MediaType,
    RAck,
    Replaces,
    SessionExpires,
    TokenParams,
    retry_after,
)
from tests.rows import by_row
from tests.sip.corpora import invite


def test_names_compare_without_case_and_in_compact_form() -> None:
    """Any spelling finds the header; known names are written in their usual one, unknown ones as given."""
    headers = Headers([("cAlL-iD", "1"), ("x-Own", "2")])
    assert headers.get("i") == headers.get("CALL-ID") == "1"
    assert "X-OWN" in headers
    assert 1 not in headers
    assert headers.write() == "Call-ID: 1\r\nx-Own: 2\r\n"


@by_row(("letter", "name"), COMPACT_FORMS.items())
def test_every_compact_form_means_its_long_name(letter: str, name: str) -> None:
    """The one-letter names of RFC 3261 and its kin."""
    assert Headers([(letter.upper(), "x")]).get(name) == "x"


def test_order_and_repetition_are_kept() -> None:
    """Repeated fields stay apart and in order, between others."""
    headers = Headers([("Via", "1"), ("Z", "a"), ("Via", "2")])
    assert headers.all("v") == ["1", "2"]
    assert list(headers) == [("Via", "1"), ("Z", "a"), ("Via", "2")]
    assert headers.count("via") == 2
    assert len(headers) == 3
    assert headers.all("absent") == []
    assert headers.get("absent") is None


def test_edits_give_new_lists() -> None:
    """with_ replaces in place, add appends, prepend puts in front, without and only select."""
    headers = Headers([("Via", "1"), ("Z", "a"), ("Via", "2")])
    assert list(headers.with_("via", "3", "4")) == [("Via", "3"), ("Via", "4"), ("Z", "a")]
    assert list(headers.with_("Z-New", "b"))[-1] == ("Z-New", "b")
    assert list(headers.with_("Via")) == [("Z", "a")]
    assert next(iter(headers.prepend("Via", "0"))) == ("Via", "0")
    assert headers.without("v").count("Via") == 0
    assert list(headers.only("Z")) == [("Z", "a")]
    assert headers.count("Via") == 2
    assert "1" not in repr(headers)


def test_equality_and_hash_go_by_name_and_value() -> None:
    """The spelling of a name does not count."""
    assert Headers([("x-a", "1")]) == Headers([("X-A", "1")])
    assert hash(Headers([("x-a", "1")])) == hash(Headers([("X-A", "1")]))
    assert Headers([("x-a", "1")]) != Headers([("X-A", "2")])
    assert Headers() != "x"


@by_row("name", ["", "a b", "a:", "a\t", "a\u00a0", "a\x0b", "ä", "a\r\nb"])
def test_a_name_that_is_no_token_is_not_built(name: str) -> None:
    """Header names go through the grammar."""
    with pytest.raises(SipBuildError):
        Headers([(name, "x")])


@by_row(
    ("text", "display", "uri", "params"),
    [
        ("sip:a@b;tag=1", "", "sip:a@b", (("tag", "1"),)),
        ("<sip:a@b;lr>;tag=1", "", "sip:a@b;lr", (("tag", "1"),)),
        ('"A \\"B\\" <x>" <sip:a@b> ; tag = 1 ;flag', 'A "B" <x>', "sip:a@b", (("tag", "1"), ("flag", None))),
        ("caller<sip:a@b>", "caller", "sip:a@b", ()),
        ("J. Rosenberg~ <sip:a@b>", "J. Rosenberg~", "sip:a@b", ()),
        ("Jürgen <sip:a@b>", "Jürgen", "sip:a@b", ()),
        ('<sip:a@b>;x="q;,>"', "", "sip:a@b", (("x", '"q;,>"'),)),
        ("<sip:a@b?Route=%3Csip:c%3E>", "", "sip:a@b?Route=%3Csip:c%3E", ()),
        ("<sip:a@b>;tag=abc==", "", "sip:a@b", (("tag", "abc=="),)),
        ("AT&T (main) #1 <sip:a@b>", "AT&T (main) #1", "sip:a@b", ()),
        ("tel:+1201;tag=1", "", "tel:+1201", (("tag", "1"),)),
        ("<sip:a@b>;;tag=1; ;", "", "sip:a@b", (("tag", "1"),)),
        ("<sip:a@b>;tag=;q= ;x", "", "sip:a@b", (("tag", None), ("q", None), ("x", None))),
        ("<sip:a@b>;i=<urn:x>;x", "", "sip:a@b", (("i", '"<urn:x>"'), ("x", None))),
    ],
)
def test_an_address_is_read_in_every_form(text: str, display: str, uri: str, params: object) -> None:
    """name-addr and addr-spec, quoted and plain names; parameters outside the brackets are the header's."""
    value = NameAddr.parse(text)
    assert (value.display_name, str(value.uri), value.params) == (display, uri, params)
    assert NameAddr.parse(str(value)) == value


@by_row(
    "text",
    [
        "",
        "< sip:a@b >",
        "<sip:a@b",
        "sip:a@b?Route=x",
        "<sip:a@b>;=1",
        "<sip:a@b>" + ";" * 200,
        "<sip:a@b> x",
        "<sip:a@b>,<sip:c@d>",
        "<sip:a@b>" + ";a" * 200,
        "*",
    ],
)
def test_a_malformed_address_is_a_syntax_error(text: str) -> None:
    """One address means exactly one."""
    with pytest.raises(SipSyntaxError):
        NameAddr.parse(text)


def test_a_comma_list_is_split_where_the_grammar_says() -> None:
    """Commas in quotes, in brackets and in header parameters' quotes split nothing."""
    values = NameAddr.parse_list('"a,b" <sip:a,b@c>;x="1,2" , sip:d@e;q=0.5')
    assert [str(v.uri) for v in values] == ["sip:a,b@c", "sip:d@e"]
    assert values[1].q == 0.5
    with pytest.raises(SipSyntaxError):
        NameAddr.parse_list("<sip:a@b>,")
    with pytest.raises(SipSyntaxError):
        NameAddr.parse_list(",".join(["<sip:a@b>"] * 200))


def test_contact_parameters_have_types() -> None:
    """q, expires, +sip.instance and reg-id, with the RFC's rule for each that is malformed."""
    value = NameAddr.parse('<sip:a@b>;q=0.7;expires=60;+sip.instance="<urn:uuid:1>";reg-id=2')
    assert (value.q, value.expires, value.instance, value.reg_id) == (0.7, 60, "urn:uuid:1", 2)
    assert NameAddr.parse("<sip:a@b>;expires=soon").expires == 3600
    assert NameAddr.parse("<sip:a@b>;expires=" + "9" * 40).expires == 0xFFFFFFFF
    assert NameAddr.parse("<sip:a@b>").expires is None
    assert NameAddr.parse("<sip:a@b>").instance is None
    for unreadable in ("q=much", "q=0..5", 'q=""', "q"):
        assert NameAddr.parse(f"<sip:a@b>;{unreadable}").q == 1.0
    for unreadable in ("x", "0", "99999999999"):
        assert NameAddr.parse(f"<sip:a@b>;reg-id={unreadable}").reg_id is None


@by_row(
    ("text", "name"),
    [
        ("Doe, John <sip:a@b>;tag=x", "Doe, John"),
        ('""x"" <sip:a@b>;tag=x', "x"),
        ('"unbalanced <sip:a@b>;tag=x', "unbalanced"),
        ('"Doe" John, Jr. <sip:a@b>;tag=x', "Doe John, Jr."),
    ],
)
def test_a_name_that_should_be_quoted_is_the_whole_line_before_its_uri(text: str, name: str) -> None:
    """As one address and as a list of one (RFC 4475 3.1.2.6, 3.1.2.15); it is written in quotes."""
    value = NameAddr.parse(text)
    assert (value.display_name, str(value.uri), value.tag) == (name, "sip:a@b", "x")
    assert NameAddr.parse_list(text) == [value]
    assert str(value) == f'"{name}" <sip:a@b>;tag=x'


@by_row("text", ['"a <sip:a@b> <sip:c@d>', "sip:a@b, x <sip:c@d>", 'a "b" <sip:a@b>, "c <sip:d@e>'])
def test_of_two_uris_none_is_a_name(text: str) -> None:
    """Which of them is the address nobody can say."""
    with pytest.raises(SipSyntaxError):
        NameAddr.parse(text)


def test_a_uri_with_an_empty_user_means_its_host() -> None:
    """Phones without an account write `sip:@host`."""
    assert NameAddr.parse("<sip:@gw.test>;tag=1").uri == Uri.parse("sip:gw.test")


@by_row("bad", ["a>b", "a b", "a\r\nb", 'a"b', "a<b"])
def test_an_address_cannot_be_broken_out_of(bad: str) -> None:
    """A URI part, a tag, a parameter name or a display name cannot end its place and begin something else."""
    with pytest.raises(SipBuildError):
        str(NameAddr(Uri("sip", bad, "example.com")))
    base = NameAddr(Uri.of("a", "b"))
    with pytest.raises(SipBuildError):
        base.with_tag(bad)
    with pytest.raises(SipBuildError):
        base.with_param(bad, "1")


def test_display_names_and_parameter_values_are_quoted() -> None:
    """Text from elsewhere stays text."""
    value = NameAddr(Uri.of("a", "b"), 'x" <sip:evil@e>;tag=1').with_param("p", "1;tag=2")
    again = NameAddr.parse(str(value))
    assert again.display_name == 'x" <sip:evil@e>;tag=1'
    assert again.param("p") == "1;tag=2"
    assert again.tag is None
    assert str(again.uri) == "sip:a@b"
    with pytest.raises(SipBuildError):
        str(NameAddr(Uri.of("a", "b"), "x\r\ny"))
    with pytest.raises(SipBuildError):
        value.with_param("p", "x\ny")


def test_parameters_are_set_once_and_dropped() -> None:
    """with_param keeps the place and removes doubles; with_tag(None) drops the tag."""
    value = NameAddr.parse("<sip:a@b>;a=1;tag=x;A=2").with_param("a", "3")
    assert str(value) == "<sip:a@b>;a=3;tag=x"
    assert str(value.with_tag(None)) == "<sip:a@b>;a=3"
    assert str(value.with_param("lr")) == "<sip:a@b>;a=3;tag=x;lr"


def test_via_is_read_with_white_space_anywhere() -> None:
    """RFC 4475 3.1.1.1 puts white space around every separator."""
    text = "SIP  / 2.0  / TCP     spindle.example.com   :  5070 ;  branch  =   z9hG4bK9ikj8  ,SIP/2.0/UDP [::1];rport=5"
    first, second = Via.parse_list(text)
    assert (first.transport, first.host, first.port, first.branch) == (
        "TCP",
        "spindle.example.com",
        5070,
        "z9hG4bK9ikj8",
    )
    assert str(first) == "SIP/2.0/TCP spindle.example.com:5070;branch=z9hG4bK9ikj8"
    assert (second.host, second.rport, second.wants_rport) == ("[::1]", 5, True)


def test_via_parameters_have_types() -> None:
    """received, rport and maddr; a port that is none counts as absent."""
    via = Via.parse("SIP/2.0/UDP h;received=[::1];rport;maddr=239.1.1.1")
    assert (via.received, via.rport, via.maddr, via.branch) == ("::1", None, "239.1.1.1", None)
    for bad in ("0", "70000", "x", "1234567"):
        assert Via.parse(f"SIP/2.0/UDP h;rport={bad}").rport is None
    assert via.with_param("received", "192.0.2.1").received == "192.0.2.1"
    assert via.param("absent") is None


@by_row(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP h;@",
        "SIP/2.0 h",
        "SIP/2.0/UDP h:70000",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP <h>",
        "SIP/2.0/UDP 192.0.2.15;;,;,,",
        ",".join(["SIP/2.0/UDP h"] * 200),
    ],
)
def test_a_malformed_via_is_a_syntax_error(text: str) -> None:
    """Responses go by it, so it is read strictly."""
    with pytest.raises(SipSyntaxError):
        Via.parse_list(text)
    with pytest.raises(SipSyntaxError):
        Via.parse(text)


def test_cseq_is_a_number_below_two_to_31_and_a_method() -> None:
    """RFC 3261 8.1.1.5."""
    assert CSeq.parse("0009  INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(1, "BYE")) == "1 BYE"
    for bad in ("", "1", "INVITE", "x INVITE", "2147483648 INVITE", "1 INV ITE", "1INVITE"):
        with pytest.raises(SipSyntaxError):
            CSeq.parse(bad)
    for number, method in ((-1, "BYE"), (2**31, "BYE"), (1, "B E")):
        with pytest.raises(SipBuildError):
            str(CSeq(number, method))


def test_media_types_compare_in_lower_case_and_by_range() -> None:
    """Content-Type and the ranges of Accept."""
    value = MediaType.parse('Multipart / Mixed ; boundary="a b"')
    assert (value.essence, value.param("boundary")) == ("multipart/mixed", "a b")
    assert MediaType.parse("*/*").accepts("application/sdp")
    assert MediaType.parse("application/*").accepts("application/sdp")
    assert not MediaType.parse("text/*").accepts("application/sdp")
    assert str(value) == 'multipart/mixed;boundary="a b"'
    for bad in ("", "text", "text/", "text/plain x"):
        with pytest.raises(SipSyntaxError):
            MediaType.parse(bad)
    ranges = MediaType.parse_list('text/plain;x="a,b" , application/sdp;q=0.5')
    assert [one.essence for one in ranges] == ["text/plain", "application/sdp"]
    assert MediaType.parse_list("") == []
    for bad in ("a/b,", "a/b c", ",".join(["a/b"] * 200)):
        with pytest.raises(SipSyntaxError):
            MediaType.parse_list(bad)


def test_a_second_cosmetic_header_is_passed_over() -> None:
    """Two User-Agent fields refuse no call; two Session-Expires are a 400 for whoever reads them."""
    doubled = b"User-Agent: Desk/1.0\r\nUser-Agent: Other\r\nx: 90"
    message = parse_message(invite((b"User-Agent: Desk/1.0", doubled)))
    assert message.user_agent == "Desk/1.0"
    with pytest.raises(SipSyntaxError) as caught:
        _ = message.session_expires
    assert (caught.value.status, caught.value.header) == (400, "Session-Expires")


def test_authentication_values_keep_their_quotes() -> None:
    """Digest parameters are unquoted for use and quoted again where they were."""
    text = 'Digest realm="a, b", nonce="n\\"x", algorithm=MD5, qop="auth,auth-int", stale=FALSE'
    value = AuthValue.parse(text)
    assert value.get("realm") == "a, b"
    assert value.get("nonce") == 'n"x'
    assert value.get("absent") is None
    assert str(value) == text
    assert AuthValue.parse("NoOneKnowsThisScheme opaque-data=here").params == ()
    assert str(AuthValue("Negotiate")) == "Negotiate"
    assert "a, b" not in repr(value)
    for bad in ("", "Digest realm", "Digest realm=a, realm=b", "Digest " + ",".join(f"a{i}=1" for i in range(40))):
        with pytest.raises(SipSyntaxError):
            AuthValue.parse(bad)


def test_the_small_headers_round_trip() -> None:
    """Session-Expires, RAck, Replaces, Reason, Event: parse and str are inverse."""
    assert SessionExpires.parse("1800;refresher=UAS") == SessionExpires(1800, "uas")
    assert SessionExpires.parse("90;refresher=x").refresher is None
    assert str(SessionExpires(90, "uac")) == "90;refresher=uac"
    assert str(RAck.parse("1 2 INVITE")) == "1 2 INVITE"
    assert str(Replaces.parse("id@h;to-tag=1;from-tag=2;early-only")) == "id@h;to-tag=1;from-tag=2;early-only"
    reasons = TokenParams.parse_list('SIP;cause=200;text="Call completed elsewhere", Q.850 ;cause=16')
    assert [(r.value, r.cause) for r in reasons] == [("SIP", 200), ("Q.850", 16)]
    assert str(reasons[0]) == 'SIP;cause=200;text="Call completed elsewhere"'
    assert TokenParams.parse("presence;id=1").param("id") == "1"
    assert TokenParams.parse("presence;cause=x").cause is None
    assert retry_after("120 (in a meeting);duration=5") == 120


@by_row(
    ("read", "text"),
    [
        (SessionExpires.parse, "soon"),
        (SessionExpires.parse, "90 x"),
        (RAck.parse, "1 2"),
        (RAck.parse, "1 99999999999 INVITE"),
        (Replaces.parse, "id"),
        (Replaces.parse, ""),
        (Replaces.parse, "id;to-tag=1;from-tag=2 x"),
        (TokenParams.parse, ""),
        (TokenParams.parse, "a b"),
        (TokenParams.parse_list, ",".join("a" * 40)),
        (retry_after, "soon"),
    ],
)
def test_a_malformed_small_header_is_a_syntax_error(read: object, text: str) -> None:
    """Each reader raises nothing else."""
    assert callable(read)
    with pytest.raises(SipSyntaxError):
        read(text)


def test_contact_star_is_no_address() -> None:
    """`Contact: *` is told apart from a list (RFC 3261 10.2.2)."""
    message = parse_message(invite((b"Contact: <sip:alice@client.atlanta.example.com;transport=tcp>", b"m: *")))
    assert message.contact_is_star
    assert message.contacts == ()
    assert message.contact is None


def test_refer_to_carries_replaces_in_its_uri() -> None:
    """A URI header of Refer-To is a header of the request to come (RFC 3515, 3891)."""
    line = b"Refer-To: <sip:bob@h?Replaces=id%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\nUser-Agent: Desk"
    message = parse_message(invite((b"User-Agent: Desk", line)))
    assert message.refer_to is not None
    assert Replaces.parse(message.refer_to.uri.header("Replaces") or "") == Replaces("id@h", "1", "2")


def test_lists_may_be_spread_over_fields_and_may_be_empty() -> None:
    """Supported twice is one list; an empty Allow is an empty list; a bad one is a 400."""
    message = parse_message(
        invite((b"Supported: timer, replaces, norefersub", b"k: timer,\r\nSupported: a ,, b\r\nRequire:"))
    )
    assert message.supported == ("timer", "a", "b")
    assert message.require == ()
    assert read_tokens("", "x") == []
    bad = parse_message(invite((b"Supported: timer, replaces", b"Supported: timer replaces")))
    with pytest.raises(SipSyntaxError):
        _ = bad.supported


def test_absent_headers_are_none_or_empty() -> None:
    """No typed access fails for want of an optional header."""
    message = Request("OPTIONS", Uri.of(None, "h"))
    assert message.max_forwards is None
    assert message.expires is None
    assert message.content_type is None
    assert message.route == ()
    assert message.accept == ()
    assert message.www_authenticate == ()
    for name in ("from_", "to", "call_id", "cseq", "via"):
        with pytest.raises(SipSyntaxError):
            getattr(message, name)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40))
def test_quoting_is_undone_by_unquoting(text: str) -> None:
    """Any clean text survives as a quoted string and as a parameter value."""
    assert unquote(quote(text)) == text
    assert unquote(param_value(text)) == text


READERS = [
    NameAddr.parse_list,
    Via.parse_list,
    CSeq.parse,
    MediaType.parse,
    AuthValue.parse,
    SessionExpires.parse,
    RAck.parse,
    Replaces.parse,
    TokenParams.parse_list,
    retry_after,
]


@given(st.text('aZ09"\\<>;,=:/@ .?%[]*-\t\u00e9', max_size=50), st.sampled_from(READERS))
def test_any_text_gives_a_value_or_a_syntax_error(text: str, read: object) -> None:
    """Nothing else ever comes out of a header's reader."""
    assert callable(read)
    try:
        read(text)
    except SipSyntaxError:
        return


def test_an_address_that_comes_again_is_not_read_again() -> None:
    """From and To of every message of a dialog are one value; a long one is read anew and not kept."""
    text = '"Desk phone" <sip:1001@gateway.example>;tag=Xc81FqW0'
    assert NameAddr.parse(text) is NameAddr.parse(text)
    long = f"<sip:{'a' * 300}@gateway.example>"
    assert NameAddr.parse(long) == NameAddr.parse(long)
    assert NameAddr.parse(long) is not NameAddr.parse(long)


def test_an_address_can_be_copied_whether_it_was_written_or_not() -> None:
    """As a program of the library's may do with any value."""
    value = NameAddr(Uri.parse("sip:1001@gateway.example"), "Desk phone")
    for _ in range(2):
        copies = copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))
        assert {str(each) for each in copies} == {'"Desk phone" <sip:1001@gateway.example>'}
