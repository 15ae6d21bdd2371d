"""Token buckets, connection counts, checks and credentials: small rules, by a manual clock."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web import checks
from gateway.web.auth.authenticator import credentials
from gateway.web.limits import KeyedBuckets, SourceBuckets, SourceCounter, TokenBucket
from tests.rows import by_row


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    """Never more than the burst, however long the pause; a clock that steps back takes nothing away."""
    bucket = TokenBucket(rate=2, burst=3, tokens=3, updated=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(99) is False


def test_a_bucket_lends_tokens_for_a_pause() -> None:
    """Each borrowed token is one over the rate later than the one before; none is lent twice."""
    bucket = TokenBucket(rate=4, burst=2, tokens=2, updated=0)
    assert [bucket.borrow(0) for _ in range(4)] == [0, 0, 0.25, 0.5]
    assert bucket.borrow(0.5) == 0.25
    assert bucket.borrow(10) == 0


def _left(bucket: TokenBucket, now: float) -> int:
    return sum(bucket.take(now) for _ in range(20))


def test_a_widened_bucket_fills_at_its_rate() -> None:
    """Narrowed again, it keeps no more than its burst."""
    bucket = TokenBucket(rate=1, burst=1, tokens=1, updated=0)
    bucket.widen(3)
    assert _left(bucket, 0) == 1
    assert _left(bucket, 100) == 4
    bucket.widen(-3)
    assert _left(bucket, 200) == 1


def test_a_narrowed_bucket_keeps_its_burst_alone() -> None:
    """Tokens beyond it are gone at once, and do not wait for the clock."""
    bucket = TokenBucket(rate=1, burst=4, tokens=4, updated=0)
    bucket.widen(-3)
    assert bucket.tokens == 1


def test_given_tokens_never_exceed_the_burst() -> None:
    """Tokens are there at once, and room for them comes by widening alone."""
    bucket = TokenBucket(rate=1, burst=3, tokens=1, updated=0)
    bucket.give(1)
    assert _left(bucket, 0) == 2
    bucket.give(10)
    assert _left(bucket, 0) == 3


def test_a_key_borrows_from_its_own_bucket() -> None:
    """A /64 of IPv6 is one source in borrowing, too."""
    buckets = SourceBuckets(rate=4, burst=1, clock=lambda: 0.0)
    borrowed = [buckets.borrow(source) for source in ("2001:db8::1", "2001:db8::2", "192.0.2.1")]
    assert borrowed == [0, 0.25, 0]


def test_keys_have_their_own_buckets_and_the_oldest_is_forgotten() -> None:
    """Memory is bounded whoever asks."""
    buckets = KeyedBuckets(rate=0.001, burst=1, clock=lambda: 0.0, max_keys=2)
    assert buckets.empty("a") is False
    assert [buckets.take("a"), buckets.take("a"), buckets.take("b")] == [True, False, True]
    assert buckets.empty("a") is True
    buckets.take("a")
    buckets.take("c")
    assert len(buckets) == 2
    assert buckets.empty("b") is False


def test_connections_are_counted_for_each_source() -> None:
    """A /64 of IPv6 is one source; what leaves makes room."""
    counter = SourceCounter(limit=2)
    assert [counter.enter(f"2001:db8::{number}") for number in range(3)] == [True, True, False]
    assert counter.enter("2001:db8:0:1::")
    counter.leave("2001:db8::ffff")
    assert [counter.enter("2001:db8::3"), counter.enter("2001:db8::4")] == [True, False]


def test_a_network_of_ipv6_has_one_bucket() -> None:
    """An IPv4 address in an IPv6 one is the same source as the IPv4 address."""
    buckets = SourceBuckets(rate=0.001, burst=1, clock=lambda: 0.0)
    assert [buckets.take("2001:db8::1"), buckets.take("2001:db8::2"), buckets.empty("2001:db8::3")] == [
        True,
        False,
        True,
    ]
    assert [buckets.take("192.0.2.1"), buckets.take("::ffff:192.0.2.1")] == [True, False]
    assert len(buckets) == 2


@given(st.text(max_size=300))
def test_what_can_be_dialled_holds_nothing_that_could_break_a_header(text: str) -> None:
    """No blank, quote, bracket or control character; never more than 256 characters."""
    if checks.is_target(text):
        assert 0 < len(text) <= 256
        assert not set(text) & set(' \r\n\t\0"<>\\')
        assert text.isprintable()


@given(st.text(st.characters(exclude_categories=())))
def test_a_description_is_whatever_text_can_be_sent(text: str) -> None:
    """Any text but blanks and halves of characters: the reader of descriptions judges the rest."""
    halves = any("\ud800" <= character <= "\udfff" for character in text)
    assert checks.is_description(text) == (bool(text.strip()) and not halves)


@given(st.text() | st.integers() | st.none() | st.lists(st.text()))
def test_checks_never_raise(value: object) -> None:
    """Every check is a plain yes or no for any value."""
    every = (checks.is_identifier, checks.is_target, checks.is_description, checks.is_candidate, checks.is_label)
    assert all(isinstance(check(value), bool) for check in (*every, checks.is_line_index))


@given(st.binary() | st.text())
def test_json_is_a_value_or_bad_json(text: str | bytes) -> None:
    """No other error, whatever the bytes are."""
    message = ""
    try:
        checks.load_json(text, 16)
    except checks.BadJson as error:
        message = str(error)
    assert len(message) < 60


@by_row(("depth", "good"), [(15, True), (16, True), (17, False), (900, False), (60_000, False)])
def test_json_is_limited_in_depth(depth: int, good: bool) -> None:
    """Sixteen levels are enough for anybody."""
    text = "[" * depth + "]" * depth
    if good:
        checks.load_json(text, 16)
    else:
        with pytest.raises(checks.BadJson):
            checks.load_json(text, 16)


@by_row(
    ("header", "expected"),
    [
        ("Bearer alice:wonder", ("alice", "wonder")),
        ("bearer alice:a:b", ("alice", "a:b")),
        ("Bearer token", ("", "token")),
        ("Basic " + base64.b64encode("älice:ö".encode()).decode(), ("älice", "ö")),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), None),
        ("Basic ?", None),
        ("Bearer", None),
        ("Bearer alice:", None),
        ("Digest x", None),
        ("", None),
        (None, None),
    ],
)
def test_credentials_are_read_from_bearer_and_basic(header: str | None, expected: tuple[str, str] | None) -> None:
    """What cannot be read is no credential, never an error."""
    assert credentials(header) == expected
