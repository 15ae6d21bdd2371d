"""The wire parser and writer: what is read, what is refused, and what every refusal carries."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.build import error_response
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import KeepAlive, Limits, keepalive, parse_message
from gateway.sip.message.uri import Uri
from tests.rows import by_row
from tests.sip.corpora import invite

BODY_LENGTH = len(invite().partition(b"\r\n\r\n")[2])


def parse_request(data: bytes, limits: Limits | None = None) -> Request:
    message = parse_message(data, limits or Limits())
    assert isinstance(message, Request)
    return message


def refusal(data: bytes, limits: Limits | None = None) -> SipSyntaxError:
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(data, limits or Limits())
    return caught.value


def test_a_usual_invite_is_read_in_every_part() -> None:
    """Start line, typed headers and body of an ordinary request are all there."""
    message = parse_request(invite())
    assert (message.method, str(message.uri)) == ("INVITE", "sip:bob@biloxi.example.com")
    assert message.top_via.branch == "z9hG4bK74bf9"
    assert (message.top_via.host, message.top_via.port) == ("client.atlanta.example.com", 5060)
    assert message.top_via.wants_rport
    assert message.top_via.rport is None
    assert (message.from_.display_name, message.from_tag, message.to_tag) == ("Alice", "9fxced76sl", None)
    assert (message.cseq.number, message.cseq.method) == (1, "INVITE")
    assert message.max_forwards == 70
    assert message.contact is not None
    assert message.contact.uri.transport == "tcp"
    assert message.allow[:2] == ("INVITE", "ACK")
    assert message.supported == ("timer", "replaces", "norefersub")
    assert message.session_expires is not None
    assert message.session_expires.seconds == 1800
    assert message.content_type is not None
    assert message.content_type.essence == "application/sdp"
    assert message.body.startswith(b"v=0\r\n")
    assert len(message.body) == BODY_LENGTH


def test_writing_gives_back_what_was_read() -> None:
    """A message in canonical spelling survives reading and writing byte for byte."""
    assert parse_message(invite()).write() == invite()


def test_typed_headers_are_parsed_once_and_kept() -> None:
    """The same value object comes back at every access."""
    message = parse_request(invite())
    assert message.contacts is message.contacts


def test_a_malformed_lazy_header_raises_only_when_it_is_read() -> None:
    """A broken Contact lets the message in, and its reader gets a 400 with what is needed to answer."""
    message = parse_request(invite((b"Contact: <sip:", b"Contact: <<sip:")))
    with pytest.raises(SipSyntaxError) as caught:
        _ = message.contacts
    assert (caught.value.status, caught.value.header) == (400, "Contact")
    answer = error_response(caught.value, "t1")
    assert answer is not None
    assert answer.status == 400
    assert answer.to_tag == "t1"


def test_compact_forms_and_odd_case_are_the_long_names() -> None:
    """One-letter names and any case mean the same header and are written in full."""
    data = invite((b"Via:", b"v:"), (b"From:", b"F:"), (b"Call-ID:", b"i :"), (b"CSeq:", b"cSEQ\t:"))
    message = parse_request(data)
    assert message.write() == invite()


def test_folded_lines_become_one_value() -> None:
    """A continuation line is joined by one space (RFC 3261 7.3.1)."""
    message = parse_request(invite((b"User-Agent: Desk/1.0", b"User-Agent: Desk/1.0\r\n \t (build\r\n 7)\r\n ")))
    assert message.user_agent == "Desk/1.0 (build 7)"


@by_row(
    ("old", "new"),
    [
        (b"To: Bob", b"To\xc2\xa0: Bob"),
        (b"To: Bob", b"To\x0b: Bob"),
        (b"To: Bob", b"To\x0c: Bob"),
        (b"To: Bob", b"To\x00: Bob"),
        (b"To: Bob", b"\xe2\x80\x8bTo: Bob"),
        (b"To: Bob", b"To Bob: x\r\nTo: Bob"),
        (b"To: Bob", b": Bob"),
        (b"To: Bob", b"To: B\x00b"),
        (b"To: Bob", b"To: Bob\r\n \x7f"),
        (b"User-Agent: Desk/1.0", b"User-Agent: Desk\nX-Evil: 1"),
        (b"User-Agent: Desk/1.0", b"User-Agent: Desk\rX-Evil: 1"),
        (b"User-Agent: Desk/1.0", b"To no colon at all"),
        (b"SIP/2.0\r\nVia", b"SIP/2.0\r\n folded start\r\nVia"),
    ],
)
def test_nothing_is_smuggled_past_the_header_grammar(old: bytes, new: bytes) -> None:
    """Only SP and HTAB may stand before a colon, no line end in a header, no control byte in what names a request."""
    error = refusal(invite((old, new)))
    assert error.status == 400
    assert error.line is not None or error.header is not None


@by_row(
    ("new", "read"),
    [
        (b"User-Agent: Desk\x00/1.0", "Desk\ufffd/1.0"),
        (b"User-Agent: Desk\x1b[31m", "Desk\ufffd[31m"),
        (b"User-Agent: Desk\r\n \x7ffolded", "Desk \ufffdfolded"),
    ],
)
def test_a_control_byte_in_any_other_header_is_replaced(new: bytes, read: str) -> None:
    """Nobody sees it, no log and no message of ours; and it is no reason to refuse a call."""
    message = parse_request(invite((b"User-Agent: Desk/1.0", new)))
    assert message.user_agent == read
    assert parse_message(message.write()) == message


def test_a_tab_before_the_colon_is_white_space() -> None:
    """HTAB before the colon is lawful and names the same header, so that no check can be gone round."""
    message = parse_request(invite((b"To: Bob", b"To \t : Bob")))
    assert message.headers.count("To") == 1


def test_a_control_byte_in_a_quoted_pair_does_not_get_past_the_parser() -> None:
    """The grammar allows it in a quoted string; it is read as U+FFFD, so that nothing can write it on."""
    message = parse_request(invite((b"From: Alice", b'From: "Al\\\x07ice"')))
    assert message.from_.display_name == "Al\ufffdice"
    assert b"\x07" not in message.write()


def test_a_latin_1_name_is_read_as_such() -> None:
    """Old phones write display names in Latin-1; the name comes out right and is written as UTF-8."""
    message = parse_request(invite((b"From: Alice", b'From: "J\xfcrgen"')))
    assert message.from_.display_name == "Jürgen"
    assert '"Jürgen"'.encode() in message.write()


@by_row("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
def test_a_missing_identifying_header_is_400(name: bytes) -> None:
    """Without one of the five headers that name a transaction nothing goes on."""
    error = refusal(invite((name + b": ", b"X-Was-" + name + b": ")))
    assert error.status == 400


@by_row("values", [[b""], [b"", b""], [b" "]])
def test_an_empty_via_is_400(values: list[bytes]) -> None:
    """No value names the sender, in one header or in several."""
    line = next(line for line in invite().split(b"\r\n") if line.startswith(b"Via:"))
    assert refusal(invite((line, b"\r\n".join(b"Via:" + value for value in values)))).status == 400


@by_row("name", [b"From", b"To", b"Call-ID", b"CSeq", b"Max-Forwards", b"Content-Length"])
def test_a_repeated_single_header_is_400(name: bytes) -> None:
    """Two different values of a header that may be there once would let two readers see two messages."""
    line = next(line for line in invite().split(b"\r\n") if line.startswith(name + b":"))
    again = line + (b"0" if name in (b"Max-Forwards", b"Content-Length") else b"")
    error = refusal(invite((line, line + b"\r\n" + again)))
    assert error.status == 400


@by_row(
    ("old", "new", "status"),
    [
        (b"SIP/2.0\r\n", b"SIP/3.0\r\n", 505),
        (b"SIP/2.0\r\n", b"HTTP/1.1\r\n", 400),
        (b"INVITE sip:bob@biloxi.example.com", b"INVITE <sip:bob@biloxi.example.com>", 400),
        (b"INVITE sip:bob@biloxi.example.com", b"INVITE  sip:bob@biloxi.example.com", 400),
        (b"INVITE sip:bob@biloxi.example.com", b"INVITE sip:bob@biloxi.example.com?Route=x", 400),
        (b"INVITE sip:bob@", b"INVITE sip:" + b"b" * 5000 + b"@", 414),
        (b"INVITE sip:bob@", b"INVITE sip:" + b"b" * 9000 + b"@", 414),
        (b"CSeq: 1 INVITE", b"CSeq: 1 BYE", 400),
        (b"CSeq: 1 INVITE", b"CSeq: 2147483648 INVITE", 400),
        (b"CSeq: 1 INVITE", b"CSeq: -1 INVITE", 400),
        (b"CSeq: 1 INVITE", "CSeq: ١ INVITE".encode(), 400),
        (b"tag=9fxced76sl", b"tag=" + b"9" * 300, 400),
        (b"branch=z9hG4bK74bf9", b"branch=z9hG4bK" + b"7" * 600, 400),
        (b"Call-ID: 3848", b"Call-ID: " + b"3" * 600, 400),
        (b"User-Agent: Desk/1.0", b"User-Agent: " + b"D" * 9000, 513),
        (b"User-Agent: Desk/1.0", b"\r\n".join([b"X: 1"] * 300), 513),
        (b"User-Agent: Desk/1.0", b"User-Agent: D" + b"\r\n x" * 100, 513),
    ],
)
def test_every_refusal_names_its_status_and_can_be_answered(old: bytes, new: bytes, status: int) -> None:
    """What cannot be read is answered from what could be, with Via, From, To, Call-ID and CSeq."""
    error = refusal(invite((old, new)))
    assert error.status == status
    answer = error_response(error, "t1")
    assert answer is not None
    assert answer.status == status
    assert [name for name, _ in answer.headers] == ["Via", "From", "To", "Call-ID", "CSeq"]


@by_row(("long", "short"), [(b"Content-Length", b"l"), (b"From", b"f"), (b"To", b"T"), (b"Call-ID", b"I")])
def test_a_compact_form_beside_the_long_one_is_a_repetition(long: bytes, short: bytes) -> None:
    """Two spellings of one header cannot carry two values past a reader that knows only one of them."""
    line = next(line for line in invite().split(b"\r\n") if line.startswith(long + b":"))
    again = line.replace(long, short + b" ", 1) + (b"0" if short == b"l" else b"")
    error = refusal(invite((line, line + b"\r\n" + again)))
    assert (error.status, error.header) == (400, long.decode())


def test_a_lazy_header_of_an_ack_or_a_response_asks_for_silence() -> None:
    """Neither is ever answered, whatever is wrong with it."""
    ack = invite((b"INVITE sip", b"ACK sip"), (b"CSeq: 1 INVITE", b"CSeq: 1 ACK"), (b"Contact: <", b"Contact: <<"))
    reply = invite((b"INVITE sip:bob@biloxi.example.com SIP/2.0", b"SIP/2.0 200"), (b"Contact: <", b"Contact: <<"))
    for data in (ack, reply):
        message = parse_message(data)
        with pytest.raises(SipSyntaxError) as caught:
            _ = message.contacts
        assert caught.value.status is None
        assert error_response(caught.value) is None


def test_a_status_line_without_phrase_is_read() -> None:
    """Some peers leave out the space that is due before an empty phrase; statuses outside 1xx to 6xx are dropped."""
    message = parse_message(invite((b"INVITE sip:bob@biloxi.example.com SIP/2.0", b"SIP/2.0 200")))
    assert isinstance(message, Response)
    assert (message.status, message.phrase, message.is_final, message.is_success) == (200, "", True, True)
    for bad in (
        b"SIP/2.0 700 x",
        b"SIP/2.0 099 x",
        b"SIP/2.0 20 x",
        b"SIP/2.0 200x",
        b"SIP/2.0 200 a\x07",
        b"SIP/3.0 200 x",
    ):
        assert refusal(invite((b"INVITE sip:bob@biloxi.example.com SIP/2.0", bad))).status is None


def test_headers_beyond_the_head_limit_are_513() -> None:
    """The head's size is bounded as a whole."""
    error = refusal(invite((b"User-Agent: Desk/1.0", b"\r\n".join([b"X: " + b"1" * 4000] * 10))))
    assert error.status == 513


def test_a_datagram_above_the_limit_is_513() -> None:
    """The message's size is bounded as a whole."""
    assert refusal(invite() + b"x" * 70_000).status == 513


def test_an_ack_is_never_answered() -> None:
    """A broken ACK gets silence (RFC 3261 17.1.1.3 has no response to it)."""
    data = invite((b"INVITE sip", b"ACK sip"), (b"CSeq: 1 INVITE", b"CSeq: x ACK"))
    error = refusal(data)
    assert error.status is None
    assert error_response(error) is None


def test_a_broken_response_is_dropped() -> None:
    """Responses are never answered."""
    error = refusal(b"SIP/2.0 200 OK\r\nVia: broken\r\n\r\n")
    assert error.status is None
    assert error_response(error) is None


def test_a_body_longer_than_its_length_is_cut() -> None:
    """What follows Content-Length in a datagram is not part of the message (RFC 3261 18.3)."""
    message = parse_message(invite((b"Content-Length: %d" % BODY_LENGTH, b"Content-Length: 5")))
    assert message.body == b"v=0\r\n"


@by_row("value", [b"%d" % (BODY_LENGTH + 1), b"-1", b"1e3", b"", b"+5", b"0x10", b"5 5", b"9" * 30])
def test_a_length_that_is_wrong_is_400(value: bytes) -> None:
    """A Content-Length above what is there, or no number, is a 400."""
    error = refusal(invite((b"Content-Length: %d" % BODY_LENGTH, b"Content-Length: " + value)))
    assert (error.status, error.header) == (400, "Content-Length")


def test_a_missing_length_takes_the_rest_of_the_datagram() -> None:
    """Content-Length may be left out over UDP."""
    message = parse_message(invite((b"Content-Length: %d\r\n" % BODY_LENGTH, b"")))
    assert len(message.body) == BODY_LENGTH


def test_line_breaks_before_the_start_line_are_passed_over() -> None:
    """CRLF before a message keeps paths open and is no part of it (RFC 3261 7.5)."""
    assert parse_message(b"\r\n\r\n" + invite()).write() == invite()


def test_headers_without_an_empty_line_are_400() -> None:
    """A datagram that ends within its headers was cut on its way."""
    assert refusal(invite().partition(b"\r\n\r\n")[0] + b"\r\n").status == 400


@by_row(
    ("data", "kind"),
    [
        (b"\r\n\r\n", KeepAlive.PING),
        (b"\r\n", KeepAlive.PONG),
        (b"\x00\x00\x00\x00", KeepAlive.NOISE),
        (b"\r\n" * 5, KeepAlive.NOISE),
        (b"", KeepAlive.NOISE),
        (b"\r\nOPTIONS", None),
    ],
)
def test_keep_alives_are_told_from_messages(data: bytes, kind: KeepAlive | None) -> None:
    """CRLF pairs and NUL datagrams are keep-alives, and as messages they get silence."""
    assert keepalive(data) is kind
    if kind is not None:
        assert refusal(data).status is None


CONTROL = ["\r\n", "\r", "\n", "\x00", "\x1b", "\x0b", "\x7f", "\ud800"]


@by_row("bad", CONTROL)
def test_no_argument_of_a_message_takes_a_control_byte(bad: str) -> None:
    """Method, URI, header name, header value and reason phrase all refuse what could end a line."""
    evil = f"x{bad}Evil: 1"
    uri = Uri.of("bob", "example.com")
    with pytest.raises(SipBuildError):
        Request(evil, uri)
    with pytest.raises(SipBuildError):
        Request("INVITE", Uri("sip", evil, "example.com"))
    with pytest.raises(SipBuildError):
        Request("INVITE", uri, [(evil, "1")])
    with pytest.raises(SipBuildError):
        Request("INVITE", uri, [("Subject", evil)])
    with pytest.raises(SipBuildError):
        Response(200, evil)
    headers = Headers()
    for change in (headers.add, headers.prepend, headers.with_):
        with pytest.raises(SipBuildError):
            change("Subject", evil)
    with pytest.raises(SipBuildError):
        parse_message(invite()).with_header("Subject", evil)
    with pytest.raises(SipBuildError):
        parse_message(invite()).with_body(b"x", f"text/plain{bad}")


@by_row("status", [0, 99, 700, -1])
def test_a_status_outside_the_classes_is_not_built(status: int) -> None:
    """Only 100 to 699 are statuses."""
    with pytest.raises(SipBuildError):
        Response(status)


def test_edits_leave_the_old_message_alone() -> None:
    """`with_header`, `with_body` and `with_uri` give new values."""
    message = parse_request(invite())
    before = message.write()
    edited = message.with_header("Subject", "hello").with_body(b"", None).with_uri(Uri.of("carol", "example.org"))
    assert edited.subject == "hello"
    assert edited.content_type is None
    assert b"Content-Length: 0\r\n\r\n" in edited.write()
    assert message.write() == before


def test_messages_that_say_the_same_are_equal() -> None:
    """Equality and hash are those of the wire form."""
    assert parse_message(invite()) == parse_message(invite())
    assert hash(parse_message(invite())) == hash(parse_message(invite()))
    assert parse_message(invite()) != parse_message(invite((b"Desk/1.0", b"Desk/1.1")))


@given(st.binary(max_size=600))
def test_any_bytes_give_a_message_or_the_rooms_error(data: bytes) -> None:
    """Nothing else ever comes out of the parser."""
    try:
        parse_message(data)
    except SipSyntaxError:
        return


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with some of its bytes replaced, removed, doubled or cut off."""
    data = bytearray(invite())
    for _ in range(draw(st.integers(1, 6))):
        position = draw(st.integers(0, len(data) - 1))
        if draw(st.booleans()):
            data[position : position + draw(st.integers(0, 8))] = draw(
                st.one_of(st.binary(max_size=6), st.sampled_from([b"\r\n", b'"', b"<", b">", b";", b",", b"\\", b"%"]))
            )
        else:
            data[position:position] = data[position : position + draw(st.integers(0, 60))]
    return bytes(data)


LAZY = [name for name in dir(Request) if not name.startswith("_") and not callable(getattr(Request, name))]


@settings(max_examples=400)
@given(damaged())
def test_a_damaged_message_raises_only_the_rooms_error_wherever_it_is_read(data: bytes) -> None:
    """Every typed header of a damaged message is a value or a SipSyntaxError, and the message writes or was refused."""
    try:
        message = parse_message(data)
    except SipSyntaxError as error:
        answer = error_response(error, "t1")
        if answer is not None:
            answer.write()
        return
    for name in LAZY:
        try:
            getattr(message, name)
        except SipSyntaxError:
            continue
    again = parse_message(message.write())
    assert again == message


TOKENS = st.text("abcXYZ0189-.!%*_+`'~", min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)


@given(TOKENS, st.lists(st.tuples(TOKENS, VALUES), max_size=8), st.binary(max_size=80))
def test_what_is_written_is_read_again(method: str, fields: list[tuple[str, str]], body: bytes) -> None:
    """parse after write is the identity for every message that can be built."""
    identity = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("From", "<sip:a@example.com>;tag=1"),
        ("To", "<sip:b@example.com>"),
        ("Call-ID", "c"),
        ("CSeq", f"1 {method}"),
    ]
    extra = [(f"X-{name}", value) for name, value in fields]
    message = Request(method, Uri.of("b", "example.com"), [*identity, *extra], body)
    assert parse_message(message.write()) == message


@by_row(
    "bomb",
    [
        b'From: "' + b'\\"' * 3900 + b"\r\n",
        b"From: " + b"a " * 3900 + b"\r\n",
        b"From: <sip:a@b>" + b";a" * 2700 + b"\r\n",
        b"From: sip:" + b"a;" * 3000 + b"@\r\n",
        b"From: <sip:" + b"%41" * 1300 + b"\r\n",
        b"Via: SIP/2.0/UDP h" + b" ;a=b" * 1500 + b";\r\n",
        b"Via: SIP/2.0/UDP h" + b",SIP/2.0/UDP h" * 500 + b"\r\n",
        (b"X: " + b'"\\' * 4000 + b"\x07\r\n") * 3,
        b"Contact: " + b"<sip:a@b>," * 700 + b"x\r\n",
        b"Route: " + b'"' * 8000 + b"\r\n",
    ],
)
def test_no_header_takes_more_than_linear_time(bomb: bytes) -> None:
    """A message made of one grammar's worst case is done with in a small fixed time."""
    data = invite((b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\r\n" + bomb))
    started = time.process_time()
    try:
        message = parse_message(data)
        _ = message.contacts, message.route, message.via
    except SipSyntaxError:
        pass
    # A quadratic pattern takes seconds for these lengths; 100 ms leaves room for a slow machine.
    assert time.process_time() - started < 0.1
