"""Whose transport bundled sections use (RFC 9143 section 7), and keys that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdp import SdpNegotiationError, SdpSyntaxError, SessionDescription, answer, negotiate, translate
from sdp.attributes import Direction
from sdp.plan import CodecPolicy
from tests.sdp.plans import CHROME_AUDIO, CHROME_VIDEO, KEYS, PHONE_AUDIO, browser, browser_plan, described

VIDEO_ICE = "|a=ice-ufrag:videoUf|a=ice-pwd:videoIcePasswordOf24char|a=fingerprint:sha-256 AB:CD|a=setup:actpass"
VIDEO_FIRST = described(
    f"{CHROME_VIDEO}|a=mid:v|a=rtcp-mux{VIDEO_ICE}",
    CHROME_AUDIO.replace("m=audio 9", "m=audio 0") + "|a=mid:a|a=bundle-only",
    session="a=group:BUNDLE v a",
)
"""What a browser with max-bundle offers whose page added its camera before its microphone."""


def test_a_bundle_only_section_is_reached_where_its_group_is() -> None:
    """Refusing the video does not lose the audio: its transport is that of the offer's first section."""
    made = answer(VIDEO_FIRST, browser_plan(media=("audio",)))
    assert [section.port for section in made.media] == [0, 3478]
    assert made.media[1].has("ice-ufrag")
    audio = negotiate(VIDEO_FIRST, made, local="answerer").media[1]
    assert audio.accepted
    assert audio.remote is not None
    assert (audio.remote.ice_ufrag, audio.remote.port) == ("videoUf", 9)
    assert audio.dtls_role == "passive"


def test_our_dtls_role_complements_that_of_the_group() -> None:
    """A bundle-only section says no role: the one of its transport counts."""
    offer = SessionDescription.parse(str(VIDEO_FIRST).replace("a=setup:actpass", "a=setup:passive"))
    made = answer(offer, browser_plan(media=("audio",)))
    assert made.media[1].value("setup") == "active"
    assert negotiate(offer, made, local="answerer").media[1].dtls_role == "active"


def test_the_offers_first_section_that_stays_is_the_offerers() -> None:
    """RFC 9143 section 7.3.1: the answer's order chooses the answerer's transport only."""
    sections = [f"{CHROME_AUDIO}|a=mid:{mid}|a=ice-ufrag:uf{mid}" for mid in "xyz"]
    offer = described(*sections, session="a=group:BUNDLE x y z")
    answered = described(sections[0].replace("m=audio 9", "m=audio 0"), *sections[1:], session="a=group:BUNDLE z y")
    of_offerer = negotiate(offer, answered, local="answerer").media
    assert [media.remote and media.remote.ice_ufrag for media in of_offerer] == [None, "ufy", "ufy"]
    of_answerer = negotiate(offer, answered, local="offerer").media
    assert [media.remote and media.remote.ice_ufrag for media in of_answerer] == [None, "ufz", "ufz"]
    assert [media.bundle for media in of_answerer] == [None, 2, None]


def test_a_group_may_name_sections_that_are_not_there() -> None:
    """A stranger's ghost is no transport, and no error of another kind than ours."""
    session = "a=group:BUNDLE ghost 0"
    offer = browser(CHROME_AUDIO, session=session)
    (audio,) = negotiate(offer, browser(CHROME_AUDIO, session=session), local="offerer").media
    assert audio.accepted
    (alone,) = negotiate(offer, browser(CHROME_AUDIO, session="a=group:BUNDLE ghost"), local="offerer").media
    assert alone.accepted


MIDS = st.sampled_from(["0", "1", "2", "ghost", ""])
GROUPS = st.lists(st.lists(MIDS, max_size=4), max_size=3)
LINES = st.sampled_from(
    [
        "a=bundle-only",
        "a=rtcp-mux",
        "a=setup:actpass",
        "a=setup:holdconn",
        "a=setup:up",
        "a=fingerprint:sha-256 AB",
        "a=ice-ufrag:abcd",
        "a=sendonly",
        f"a=crypto:{KEYS[0]}",
        "a=crypto:1 X inline:",
        "a=rtcp:70000",
        "a=ptime:x",
        "c=IN IP4 0.0.0.0",
        "a=rtpmap:96 opus/48000/2",
    ]
)
SECTION_HEADS = st.sampled_from(
    ["m=audio 9 UDP/TLS/RTP/SAVPF 96 0", "m=audio 0 RTP/AVP 0 101", "m=audio 9 RTP/SAVP 0", "m=video 9 RTP/AVP 31"]
)
SECTIONS = st.tuples(SECTION_HEADS, MIDS, st.lists(LINES, max_size=6)).map(
    lambda parts: "|".join([parts[0], f"a=mid:{parts[1]}", *parts[2]])
)


@st.composite
def bundled(draw: st.DrawFn) -> SessionDescription:
    """Sections, mids and groups that need not fit each other."""
    session = "|".join("a=group:BUNDLE " + " ".join(mids) for mids in draw(GROUPS))
    return described(*draw(st.lists(SECTIONS, min_size=1, max_size=3)), session=session)


@given(bundled(), bundled(), st.sampled_from(["offerer", "answerer"]))
def test_groups_from_strangers_raise_only_our_errors(
    one: SessionDescription, other: SessionDescription, local: str
) -> None:
    """Whatever an offer and its answer bundle, they agree or are refused."""
    plan = browser_plan(codecs=CodecPolicy(), previous=other)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: negotiate(one, other, local="offerer"),
        lambda: negotiate(one, other, local="answerer"),
        lambda: negotiate(one, one, local="answerer"),
        lambda: negotiate(one, answer(one, plan), local="answerer"),
        lambda: negotiate(one, translate(other, plan, offer=one), local="answerer"),
    )
    for attempt in attempts:
        try:
            attempt()
        except (SdpNegotiationError, SdpSyntaxError):
            continue


@pytest.mark.parametrize("profile", ["RTP/AVP", "RTP/SAVP"])
def test_a_key_that_nobody_asked_for_is_left_alone(profile: str) -> None:
    """Baresip puts a=crypto into every answer; without one in the offer it protects nothing."""
    offer = described(PHONE_AUDIO.replace("RTP/AVP", profile))
    answered = described(f"m=audio 5000 {profile} 0|a=crypto:{KEYS[0]}")
    (audio,) = negotiate(offer, answered, local="offerer").media
    assert audio.accepted
    assert audio.crypto_local is None
    assert audio.remote is not None
    assert audio.remote.crypto is None
    assert audio.direction is Direction.SENDRECV


def test_the_suite_may_be_written_in_any_case() -> None:
    """ABNF names are compared without case (RFC 5234 section 2.3): what is answered is what was offered."""
    offer = described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]}")
    lower = str(KEYS[0]).replace("AEAD_AES_128_GCM", "aead_Aes_128_gcm")
    (audio,) = negotiate(offer, described(f"m=audio 5000 RTP/SAVP 0|a=crypto:{lower}"), local="offerer").media
    assert audio.crypto_local == KEYS[0]
    assert audio.remote is not None
    assert audio.remote.crypto == replace(KEYS[0])
