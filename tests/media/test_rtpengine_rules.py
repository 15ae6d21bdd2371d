"""What rtpengine is told of a party, what its statistics mean, and when silence is an event: all without I/O."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.engine import Connected, FirstMedia, Kind, MediaFailed, MediaTimeout, Party
from gateway.media.rtpengine.call import CallState, Patience
from gateway.media.rtpengine.client import ClientConfig, NgHost
from gateway.media.rtpengine.descriptions import tidied
from gateway.media.rtpengine.profiles import DIGITS_READY, Policy, flags, hidden_source, offer_flags, preferred
from gateway.media.rtpengine.statistics import Heard, heard
from gateway.testing.clock import ManualClock
from sdp import SessionDescription
from tests.media.engine_support import browser_sdp, phone_sdp
from tests.rows import by_row

BROWSER, PHONE, SECURE = (Party(kind.value, kind) for kind in (Kind.WEBRTC, Kind.RTP, Kind.SDES))
WORDS = st.sampled_from(["tags", "medias", "streams", "stats", "flags", "type", "SSRC", "packets", "a"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
)
"""Replies with the right words in the wrong places."""


def call(clock: ManualClock) -> CallState:
    """An answered call between a browser and a phone."""
    state = CallState("call", NgHost(("127.0.0.1", 1), ClientConfig(), clock, os.urandom), "call")
    for party in (BROWSER, PHONE):
        state.party(party, clock())
    state.answered_at, state.joined = clock(), frozenset(state.parties)
    return state


@by_row(
    ("target", "offered", "wanted"),
    [
        (Party("p", Kind.RTP), ("pcmu", "opus"), ["opus", "pcmu", "g722", "pcma"]),
        (Party("p", Kind.RTP, prefer=("pcma",)), ("pcmu", "opus"), ["pcma", "opus", "pcmu", "g722"]),
        (Party("p", Kind.RTP, prefer=("g729", "pcma")), ("g729",), ["pcma", "opus", "g722", "pcmu"]),
        (Party("p", Kind.RTP), (), ["opus", "g722", "pcmu", "pcma"]),
        (Party("p", Kind.WEBRTC), ("pcma",), ["pcma", "opus"]),
    ],
)
def test_a_party_is_offered_what_it_likes_then_what_needs_no_transcoding(
    target: Party, offered: tuple[str, ...], wanted: list[str]
) -> None:
    """And never a codec that the configuration does not name for its side."""
    assert preferred(Policy(webrtc_codecs=("opus", "pcma")), target, offered) == wanted


@by_row(
    ("policy", "target", "numbered"),
    [(Policy(), BROWSER, True), (Policy(), PHONE, False), (Policy(renumbers=False), BROWSER, False)],
)
def test_packets_of_srtp_are_numbered_anew_where_that_is_configured(
    policy: Policy, target: Party, numbered: bool
) -> None:
    assert (DIGITS_READY in flags(policy, PHONE, target, [])["flags"]) is numbered  # type: ignore[operator]


def test_without_transcoding_only_what_was_offered_is_passed_on() -> None:
    """The daemon is told to strip the rest, and adds nothing."""
    told = offer_flags(Policy(transcode=False, telephone_event=False), BROWSER, PHONE, [], ["pcmu"])
    assert told["codec"] == {"strip": ["all"], "offer": ["PCMU", "opus", "G722", "PCMA"]}


@by_row(
    ("target", "protocol", "ice"),
    [(BROWSER, "UDP/TLS/RTP/SAVPF", "force"), (PHONE, "RTP/AVP", "remove"), (SECURE, "RTP/SAVP", "remove")],
)
def test_each_kind_has_its_profile(target: Party, protocol: str, ice: str) -> None:
    """With ICE for browsers only."""
    told = flags(Policy(), PHONE, target, [])
    assert (told["transport-protocol"], told["ICE"]) == (protocol, ice)


def test_rtpengine_is_the_passive_side_of_dtls_whoever_called() -> None:
    """So that nothing of it is sent to an address that no check has proved."""
    assert flags(Policy(), PHONE, BROWSER, [])["DTLS"] == "passive"
    assert flags(Policy(), BROWSER, PHONE, [])["DTLS-reverse"] == "passive"


def test_only_wanted_suites_are_offered_and_never_one_without_encryption() -> None:
    """The others are named, since the daemon offers whatever it is not told to leave out."""
    told = flags(Policy(srtp_suites=("AES_CM_128_HMAC_SHA1_80",)), PHONE, SECURE, [])["SDES"]
    assert isinstance(told, list)
    assert "no-NULL_HMAC_SHA1_80" in told
    assert "no-AEAD_AES_128_GCM" in told
    assert "no-AES_CM_128_HMAC_SHA1_80" not in told


def test_interfaces_are_named_only_when_both_are_known() -> None:
    """The daemon's first one serves otherwise."""
    assert "direction" not in offer_flags(Policy(webrtc_interface="pub"), BROWSER, PHONE, [], [])
    both = Policy(webrtc_interface="pub", rtp_interface="priv")
    assert offer_flags(both, BROWSER, PHONE, [], [])["direction"] == ["pub", "priv"]
    assert offer_flags(both, PHONE, BROWSER, [], [])["direction"] == ["priv", "pub"]


@by_row(
    ("kind", "source", "address", "wanted"),
    [
        (Kind.RTP, "8.8.8.8", "192.168.1.7", "8.8.8.8"),
        (Kind.RTP, "8.8.8.8", "9.9.9.9", None),
        (Kind.RTP, "192.168.1.5", "192.168.1.7", None),
        (Kind.RTP, None, "192.168.1.7", None),
        (Kind.RTP, "phone.example", "192.168.1.7", None),
        (Kind.WEBRTC, "8.8.8.8", "0.0.0.0", None),
    ],
)
def test_media_goes_where_signalling_came_from_when_the_description_is_private(
    kind: Kind, source: str | None, address: str, wanted: str | None
) -> None:
    """Only from a public address, and never for a browser, whose checks say where it is."""
    party = Party("p", kind, private_source=source)
    assert hidden_source(party, [address]) == wanted
    told = flags(Policy(), party, BROWSER, [address])
    assert told.get("received-from") == (None if wanted is None else ["IP4", wanted])


def test_nothing_of_the_browser_reaches_the_phone() -> None:
    """What rtpengine passes on because it does not know it is taken out, as is a phone's SSRC for a browser."""
    added = ("msid:a b", "ssrc:1 cname:x", "mid:0", "end-of-candidates", "extmap:1 urn:x", "ptime:20")
    text = phone_sdp() + "".join(f"a={line}\r\n" for line in added)
    lines = tidied(text, Kind.RTP).media[0].lines
    assert [line for line in lines if line.startswith(("a=msid", "a=ssrc", "a=mid", "a=end", "a=extmap"))] == []
    assert "a=ptime:20" in lines
    assert "a=ssrc:1 cname:x" not in tidied(text, Kind.WEBRTC).media[0].lines
    assert "a=mid:0" in tidied(browser_sdp(), Kind.WEBRTC).media[0].lines


@given(st.dictionaries(st.sampled_from(["tags", "SSRC", "result"]), VALUES))
def test_a_reply_of_any_shape_gives_statistics(reply: dict[str, Any]) -> None:
    """What is missing or of another type counts as nothing."""
    for party in heard(reply).values():
        assert party.packets >= 0


def test_statistics_are_read_from_the_audio_of_each_party() -> None:
    """RTP and RTCP apart, video not at all."""
    stream: dict[str, Any] = {"flags": ["RTP", "filled"], "SSRC": 7, "stats": {"packets": 5, "bytes": 800, "errors": 1}}
    control: dict[str, Any] = {"flags": ["RTCP"], "stats": {"packets": 2}}
    quality: dict[str, Any] = {"7": {"cumulative loss": 3, "average MOS": {"jitter": 4, "round-trip time": 25_000}}}
    media: dict[str, Any] = {"type": "audio", "flags": ["recv", "transcoding"], "streams": [stream, control]}
    video: dict[str, Any] = {"type": "video", "streams": [stream]}
    found = heard({"tags": {"phone": {"medias": [media, video]}}, "SSRC": quality})
    assert found == {"phone": Heard(5, 800, 1, 2, 3, 4.0, 25.0, True, True)}


def test_the_first_packet_is_told_once() -> None:
    """As Connected and FirstMedia of that party."""
    clock = ManualClock()
    state = call(clock)
    clock.advance(0.3)
    first = state.take({"rtp": Heard(packets=1)}, clock(), Patience())
    assert first == [Connected("call", "rtp"), FirstMedia("call", "rtp")]
    assert not state.take({"rtp": Heard(packets=9)}, clock.advance(1), Patience())
    assert state.statistics().parties["rtp"].connected_after_ms == pytest.approx(300)


@by_row(
    ("media", "doubted", "expected", "limit"),
    [(60, 10, True, 10), (5, 10, True, 5), (0, 10, True, 10), (60, 0, True, 60), (60, 10, False, 600)],
)
def test_silence_is_shorter_while_the_trunk_does_not_answer(
    media: float, doubted: float, expected: bool, limit: float
) -> None:
    """Of the parties of that owner alone, and not of one that is held."""
    clock = ManualClock()
    state, patience = call(clock), Patience(media=media, doubted=doubted, held=600)
    state.parties["rtp"].party = replace(state.parties["rtp"].party, owner="trunk:office")
    seen = {"rtp": Heard(packets=1, expected=expected)}
    state.take(seen, clock.advance(1), patience, {"trunk:office"})
    assert state.take(seen, clock.advance(limit - 0.1), patience, {"trunk:office"}) == []
    [late] = state.take(seen, clock.advance(0.2), patience, {"trunk:office"})
    assert isinstance(late, MediaTimeout)
    assert late.is_doubted


def test_a_silence_of_its_own_takes_the_place_of_the_usual_one() -> None:
    """As while a callee is heard before it has answered."""
    clock = ManualClock()
    state, patience = call(clock), Patience(media=60)
    seen = {"rtp": Heard(packets=1)}
    state.take(seen, clock.advance(1), patience)
    state.parties["rtp"].patience = 5.0
    assert [type(event) for event in state.take(seen, clock.advance(5.1), patience)] == [MediaTimeout]


def test_silence_is_told_once_and_again_after_a_word_in_between() -> None:
    """After the time for media, or for a held call; RTCP counts as a word, for ever means never."""
    clock = ManualClock()
    state, patience = call(clock), Patience(media=60, held=600)
    state.take({"rtp": Heard(packets=1)}, clock.advance(1), patience)
    assert not state.take({"rtp": Heard(packets=1)}, clock.advance(59.9), patience)
    assert state.take({"rtp": Heard(packets=1)}, clock.advance(0.2), patience) == [
        MediaTimeout("call", "rtp", pytest.approx(60.1))  # type: ignore[arg-type]  # approximately a float
    ]
    assert not state.take({"rtp": Heard(packets=1)}, clock.advance(100), patience)
    assert not state.take({"rtp": Heard(packets=1, control=1, expected=False)}, clock.advance(1), patience)
    held = Heard(packets=1, control=1, expected=False)
    assert not state.take({"rtp": held}, clock.advance(599), patience)
    assert [type(event) for event in state.take({"rtp": held}, clock.advance(2), patience)] == [MediaTimeout]
    never = call(clock)
    assert not never.take({"rtp": Heard()}, clock.advance(1e6), Patience(media=0))


def test_a_browser_that_never_connects_fails_once_and_a_call_that_rings_does_not() -> None:
    """The time begins with the answer."""
    clock = ManualClock()
    state, patience = call(clock), Patience(setup=15)
    state.joined = frozenset()
    assert not state.take({"webrtc": Heard()}, clock.advance(100), patience)
    state.answered_at, state.joined = clock(), frozenset({"webrtc", "rtp"})
    assert not state.take({"webrtc": Heard()}, clock.advance(14.9), patience)
    events = state.take({"webrtc": Heard()}, clock.advance(0.2), patience)
    assert [type(event) for event in events] == [MediaFailed]
    assert not state.take({"webrtc": Heard()}, clock.advance(100), patience)


def test_where_a_call_only_rang_nothing_is_awaited() -> None:
    """A browser that did not answer never connects, and that is no failure of the call."""
    clock = ManualClock()
    state = call(clock)
    state.party(Party("other", Kind.WEBRTC), clock())
    assert not state.take({"other": Heard()}, clock.advance(1000), Patience())
    state.take({"rtp": Heard(packets=1), "webrtc": Heard(packets=1)}, clock(), Patience())
    assert not state.awaited


def test_descriptions_stay_parseable_after_tidying() -> None:
    """For either kind of reader."""
    for kind in (Kind.WEBRTC, Kind.RTP):
        text = str(tidied(browser_sdp(), kind))
        assert str(SessionDescription.parse(text)) == text
