"""Which sources a plain RTP leg believes: the rules against RTP bleed, as a table and one by one (RFC 4961)."""

from __future__ import annotations

from gateway.media.embedded.plane.values import Address, Host
from gateway.media.embedded.rtp.latching import Latch, Latching, LatchRules, may_send_to
from tests.media.hosts import at
from tests.rows import by_row

NAMED = at("9.9.9.7", 4000)
NAMED_PRIVATE = at("192.168.1.5", 4000)
SAME_HOST = at("9.9.9.7", 9999)
SIGNALLING = at("11.22.33.9", 5555)
STRANGER = at("11.22.33.66", 6666)


def latch(named: Address = NAMED, private_source: str | None = None, mode: Latching = Latching.AUTO) -> Latch:
    made = Latch(LatchRules(mode=mode, window=10.0, patience=1.0))
    made.expect(named, private_source, 100.0)
    return made


def admit(made: Latch, source: Address, now: float, *, authentic: bool = False) -> bool:
    """A packet from there: it becomes the source where the rules let it, as the plane would then say."""
    allowed = made.may_learn(source, now) if authentic else made.may_admit(source, now)
    if allowed:
        made.learn(source)
        made.heard = now
    return allowed


@by_row(
    ("mode", "named", "private_source", "source", "after", "admitted"),
    [
        (Latching.AUTO, NAMED, None, NAMED, 0.0, True),
        (Latching.OFF, NAMED, None, NAMED, 99.0, True),
        (Latching.AUTO, NAMED, None, STRANGER, 5.0, False),
        (Latching.AUTO, NAMED, "11.22.33.9", STRANGER, 5.0, False),
        (Latching.AUTO, NAMED, None, SAME_HOST, 0.5, False),
        (Latching.AUTO, NAMED, None, SAME_HOST, 5.0, True),
        (Latching.AUTO, NAMED, None, SAME_HOST, 11.0, False),
        (Latching.AUTO, NAMED, "11.22.33.9", SIGNALLING, 0.5, False),
        (Latching.AUTO, NAMED, "11.22.33.9", SIGNALLING, 5.0, True),
        (Latching.AUTO, NAMED_PRIVATE, "11.22.33.9", SIGNALLING, 0.0, True),
        (Latching.AUTO, NAMED_PRIVATE, "11.22.33.9", SIGNALLING, 60.0, True),
        (Latching.AUTO, NAMED_PRIVATE, "11.22.33.9", STRANGER, 5.0, False),
        (Latching.AUTO, NAMED_PRIVATE, None, STRANGER, 5.0, False),
        (Latching.AUTO, NAMED_PRIVATE, "192.168.1.5", STRANGER, 5.0, False),
        (Latching.OFF, NAMED_PRIVATE, "11.22.33.9", SIGNALLING, 5.0, False),
        (Latching.ON, NAMED, None, STRANGER, 0.5, False),
        (Latching.ON, NAMED, None, STRANGER, 5.0, True),
        (Latching.ON, NAMED, None, STRANGER, 11.0, False),
    ],
)
def test_who_becomes_the_source(
    mode: Latching,
    named: Address,
    private_source: str | None,
    source: Address,
    after: float,
    admitted: bool,
) -> None:
    """The first packet comes `after` seconds from `source`."""
    made = latch(named, private_source, mode)
    assert admit(made, source, 100.0 + after) is admitted
    assert made.source == (source if admitted else None)


def test_the_named_address_always_wins_back() -> None:
    """A learned source gives way as soon as the named one speaks, and is not learned again."""
    made = latch()
    assert admit(made, SAME_HOST, 105.0)
    assert made.learned
    assert admit(made, NAMED, 105.1)
    assert made.source == NAMED
    made.heard = 105.1
    assert not admit(made, SAME_HOST, 109.0)


def test_a_source_is_learned_once_per_description() -> None:
    """After the first one, the door is shut."""
    made = latch(NAMED_PRIVATE, "11.22.33.9")
    assert admit(made, SIGNALLING, 100.0)
    assert not admit(made, at("11.22.33.9", 7777), 105.0)


def test_a_live_source_is_not_taken_over_after_a_refresh() -> None:
    """A re-INVITE with the same address opens the door only once the present source is silent."""
    made = latch(NAMED_PRIVATE, "11.22.33.9")
    assert admit(made, SIGNALLING, 100.0)
    made.heard = 110.0
    made.expect(NAMED_PRIVATE, "11.22.33.9", 110.0)
    assert made.source == SIGNALLING
    moved = at("11.22.33.9", 7777)
    assert not admit(made, moved, 110.5)
    assert admit(made, moved, 111.5)
    assert made.destination == moved


def test_a_new_address_in_a_description_ends_the_old_one() -> None:
    """Media goes to the new address before anything has come from there."""
    made = latch()
    assert admit(made, NAMED, 100.0)
    other = at("9.9.9.8", 4002)
    made.expect(other, None, 120.0)
    assert made.source is None
    assert made.destination == other
    assert not admit(made, NAMED, 120.5)


def test_an_authentic_packet_teaches_its_source_at_once() -> None:
    """SRTP authenticates first; then the address may be any, once."""
    made = latch()
    assert made.may_learn(STRANGER, 100.0)
    assert made.source is None
    assert admit(made, STRANGER, 100.0, authentic=True)
    assert not made.may_learn(SIGNALLING, 100.0)


@by_row(
    ("host", "signalling", "allowed"),
    [
        ("9.9.9.7", "11.22.33.9", True),
        ("10.0.0.1", "11.22.33.9", True),
        ("127.0.0.1", "11.22.33.9", False),
        ("::1", "11.22.33.9", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", None, True),
        ("127.0.0.1", "name.example", False),
        ("224.0.0.1", None, False),
        ("255.255.255.255", None, False),
        ("0.0.0.0", None, False),
        ("host.example", None, False),
    ],
)
def test_media_is_not_sent_where_a_stranger_must_not_point_us(host: str, signalling: str | None, allowed: bool) -> None:
    """An SDP may not aim a tone at the gateway's own services, at groups or at names."""
    assert may_send_to(host, signalling) is allowed
    made = Latch(LatchRules())
    made.expect((Host(host), 4000), signalling, 0.0)
    assert (made.destination is not None) is allowed
