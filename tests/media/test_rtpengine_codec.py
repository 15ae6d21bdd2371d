"""Bencoding and ng messages: what is read, what is refused, and when a request is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.rtpengine.bencode import BencodeError, Limits, decode, encode
from gateway.media.rtpengine.ng import LONGEST_MESSAGE, Exchanges, NgError, Outcome, Retries, message, parse
from gateway.testing.clock import ManualClock
from tests.rows import by_row

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.integers(-(10**18), 10**18) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@by_row(
    ("value", "data"),
    [
        (0, b"i0e"),
        (-12, b"i-12e"),
        ("", b"0:"),
        ("ping", b"4:ping"),
        ("é", b"2:\xc3\xa9"),
        ([], b"le"),
        ({}, b"de"),
        ({"command": "ping", "a": [1, "b"]}, b"d7:command4:ping1:ali1e1:bee"),
    ],
)
def test_a_value_has_one_encoding(value: object, data: bytes) -> None:
    """Keys stay in their order, text is UTF-8."""
    assert encode(value) == data  # type: ignore[arg-type]  # the cases are of every type
    assert decode(data) == value


@given(VALUES)
def test_what_was_encoded_is_decoded_the_same(value: object) -> None:
    """For every value that can be said."""
    assert decode(encode(value)) == value  # type: ignore[arg-type]  # the strategy makes every type


@given(st.binary(max_size=40))
def test_a_string_of_any_bytes_comes_back_unchanged(data: bytes) -> None:
    """Also one that is not UTF-8: descriptions are passed through, not judged."""
    encoded = b"%d:%b" % (len(data), data)
    assert encode(decode(encoded)) == encoded


@given(st.binary(max_size=200))
def test_a_strangers_bytes_raise_only_the_rooms_error(data: bytes) -> None:
    """Whatever they are."""
    try:
        decode(data)
    except BencodeError:
        return


@given(st.text("ilde0123456789:-", max_size=60))
def test_almost_bencoded_bytes_raise_only_the_rooms_error(text: str) -> None:
    """Nor do those that look like it."""
    try:
        decode(text.encode())
    except BencodeError:
        return


@by_row(
    "data",
    [
        b"",
        b"i",
        b"ie",
        b"i-0e",
        b"i01e",
        b"i" + b"9" * 30 + b"e",
        b"5:ping",
        b"04:ping",
        b"-1:x",
        b"9999999999:x",
        b"l",
        b"d",
        b"d1:ae",
        b"di1e1:ae",
        b"d1:ai1e1:ai2ee",
        b"4:pingx",
        b"x",
        b"d" * 100_000,
        b"l" * 17 + b"e" * 17,
        b"l" + b"0:" * 20_001 + b"e",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_not_bencoded_is_refused(data: bytes) -> None:
    """Cut, malformed, ambiguous, or past a limit."""
    with pytest.raises(BencodeError):
        decode(data)


def test_the_limits_are_settings() -> None:
    """Size, depth, and how many values."""
    data = encode([["a"]])
    assert decode(data, Limits(size=len(data), depth=2, values=3)) == [["a"]]
    for limits in (Limits(size=len(data) - 1), Limits(depth=1), Limits(values=2)):
        with pytest.raises(BencodeError):
            decode(data, limits)


def test_a_message_is_a_cookie_and_a_dictionary() -> None:
    """The shape every ng message has."""
    assert message("c1", {"command": "ping"}) == b"c1 d7:command4:pinge"
    assert parse(b"c1 d6:result4:ponge") == ("c1", {"result": "pong"})


@by_row("data", [b"", b"c1", b" de", b"c1 ", b"c1 4:pong", b"c1 dex", b"c\xff de", b"c" * 65 + b" de", b"c-1 de"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """No cookie, a cookie nobody would make, no dictionary."""
    with pytest.raises(NgError):
        parse(data)


@given(st.binary(max_size=100))
def test_a_strangers_datagram_is_counted_and_changes_nothing(data: bytes) -> None:
    """Only a reply with a cookie of ours ends an exchange."""
    exchanges = Exchanges()
    exchanges.send({"command": "ping"}, "ab12", 0.0)
    exchanges.receive(data, 0.1)
    assert not exchanges.outcomes()
    assert exchanges.strays + exchanges.malformed == 1


def test_a_request_that_fits_no_datagram_is_refused() -> None:
    """Before anything is sent, and without its content."""
    exchanges = Exchanges()
    with pytest.raises(NgError) as raised:
        exchanges.send({"sdp": "s" * LONGEST_MESSAGE}, "ab12", 0.0)
    assert "sss" not in str(raised.value)
    assert not exchanges.datagrams()
    assert not len(exchanges)


def test_a_lost_request_is_sent_again_unchanged_until_its_deadline() -> None:
    """At the moments of the table, with the same cookie, so that the daemon carries it out once."""
    clock, exchanges = ManualClock(), Exchanges(Retries(after=(0.2, 0.6), deadline=1.0))
    exchanges.send({"command": "ping"}, "ab12", clock())
    first = exchanges.datagrams()
    for delay in (0.2, 0.4):
        due = exchanges.get_timer()
        assert due == pytest.approx(clock() + delay)
        exchanges.handle_timer(clock() + delay - 0.01)
        assert not exchanges.datagrams()
        exchanges.handle_timer(clock.advance(delay))
        assert exchanges.datagrams() == first
    assert not exchanges.outcomes()
    exchanges.handle_timer(clock.advance(0.4))
    assert exchanges.outcomes() == [Outcome("ab12", None)]
    assert not exchanges.datagrams()
    assert exchanges.get_timer() is None


def test_a_reply_ends_an_exchange_once() -> None:
    """A second copy of the reply finds nobody."""
    exchanges = Exchanges()
    exchanges.send({"command": "ping"}, "ab12", 0.0)
    for _ in range(2):
        exchanges.receive(b"ab12 d6:result4:ponge", 0.1)
    assert exchanges.outcomes() == [Outcome("ab12", {"result": "pong"})]
    assert exchanges.strays == 1
    assert exchanges.get_timer() is None


def test_exchanges_do_not_hold_each_other_up() -> None:
    """A later request may be answered first, and one that is given up leaves the others."""
    exchanges = Exchanges(Retries(after=(0.2,), deadline=1.0))
    for number in range(3):
        exchanges.send({"command": "ping"}, f"c{number}", 0.1 * number)
    exchanges.receive(b"c2 de", 0.3)
    exchanges.cancel("c0")
    assert exchanges.outcomes() == [Outcome("c2", {})]
    assert exchanges.get_timer() == pytest.approx(0.3)
    exchanges.handle_timer(5.0)
    assert exchanges.outcomes() == [Outcome("c1", None)]


def test_abandoning_ends_everything_that_is_on_its_way() -> None:
    """As if every deadline had come."""
    exchanges = Exchanges()
    for number in range(3):
        exchanges.send({"command": "ping"}, f"c{number}", 0.0)
    exchanges.abandon()
    assert exchanges.outcomes() == [Outcome(f"c{number}", None) for number in range(3)]
    assert exchanges.get_timer() is None
