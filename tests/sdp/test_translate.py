"""Whole descriptions from one side of a call to the other: audio, both roles, every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdp import (
    Codec,
    CodecPolicy,
    Direction,
    MediaDescription,
    Plan,
    SdpNegotiationError,
    SessionDescription,
    TransportPlan,
    answer,
    negotiate,
    pair_media,
    payload_map,
    read_codecs,
    translate,
)
from sdp.attributes import SetupRole
from tests.rows import by_row
from tests.sdp.plans import (
    CHROME_AUDIO,
    FINGERPRINT,
    GATEWAY,
    ICE,
    KEYS,
    OPUS,
    PHONE_AUDIO,
    POLICY,
    browser,
    browser_plan,
    chrome,
    described,
    phone_plan,
)

PCMU_ANSWER = "m=audio 5000 RTP/AVP 0 101|a=rtpmap:101 telephone-event/8000"


def audio(description: SessionDescription) -> MediaDescription:
    return next(media for media in description.media if media.kind == "audio")


def names(description: SessionDescription) -> list[str]:
    return [codec.rtpmap for codec in read_codecs(audio(description))]


def numbers(description: SessionDescription) -> dict[str, int | None]:
    return {codec.rtpmap: codec.payload_type for codec in read_codecs(audio(description))}


# Browser calls phone


def test_a_browsers_offer_becomes_a_plain_one() -> None:
    """The phone sees RTP/AVP at our address with the browser's codecs in its order."""
    offer = translate(chrome(), phone_plan())
    assert str(offer).split("\r\n") == [
        "v=0",
        "o=- 7002 1 IN IP4 198.51.100.1",
        "s=-",
        "c=IN IP4 198.51.100.1",
        "t=0 0",
        "m=audio 20000 RTP/AVP 111 9 0 8 13 110 126",
        "a=sendrecv",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:13 CN/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=rtpmap:126 telephone-event/8000",
        "a=fmtp:126 0-15",
        "",
    ]


def test_the_phones_answer_becomes_one_to_the_browser() -> None:
    """UDP/TLS/RTP/SAVPF, ICE-lite, DTLS, BUNDLE, its own mid and payload types."""
    result = translate(described(PCMU_ANSWER + "|a=ptime:20"), browser_plan(), offer=chrome())
    assert str(result).split("\r\n") == [
        "v=0",
        "o=- 7001 1 IN IP4 198.51.100.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=ice-lite",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 0 126",
        "c=IN IP4 198.51.100.1",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=ice-ufrag:gwUf",
        "a=ice-pwd:gatewayIcePasswordOf32Characters",
        "a=candidate:1 1 udp 2130706431 198.51.100.1 3478 typ host",
        "a=end-of-candidates",
        f"a=fingerprint:{FINGERPRINT}",
        "a=setup:passive",
        "a=msid:gateway audio-1001",
        "a=ssrc:1001 cname:gateway",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:126 telephone-event/8000",
        "a=ptime:20",
        "",
    ]


def test_both_agreements_meet_in_the_payload_map() -> None:
    """The relay renumbers what both sides agreed on."""
    offer_a, plan_a, plan_b = chrome(), browser_plan(), phone_plan()
    offer_b = translate(offer_a, plan_b)
    answer_b = described("m=audio 5000 RTP/AVP 96 97|a=rtpmap:96 opus/48000/2|a=rtpmap:97 telephone-event/48000")
    answer_a = translate(answer_b, plan_a, offer=offer_a)
    side_a = negotiate(offer_a, answer_a, local="answerer")
    side_b = negotiate(offer_b, answer_b, local="offerer")
    ((a, b),) = pair_media(side_a, side_b)
    assert payload_map(a.receive, b.send) == {111: 96, 110: 97}
    assert payload_map(b.receive, a.send) == {111: 111, 110: 110}


def test_an_opus_only_browser_reaches_a_pcmu_only_phone() -> None:
    """What can be transcoded is offered beside the browser's own, and answered in the browser's terms."""
    offer_a = browser("m=audio 9 UDP/TLS/RTP/SAVPF 111|a=rtpmap:111 opus/48000/2")
    offer_b = translate(offer_a, phone_plan())
    assert names(offer_b)[:4] == ["opus/48000/2", "G722/8000", "PCMU/8000", "PCMA/8000"]
    answer_a = translate(described("m=audio 5000 RTP/AVP 0"), browser_plan(), offer=offer_a)
    assert names(answer_a) == ["opus/48000/2"]


def test_nothing_is_added_that_could_not_be_transcoded() -> None:
    """A caller that only has G.729 is not widened: we cannot turn it into anything."""
    assert names(translate(described("m=audio 4000 RTP/AVP 18"), phone_plan())) == ["G729/8000", "telephone-event/8000"]


def test_the_callees_order_leads_the_answer() -> None:
    """What the callee likes best is forwarded untouched."""
    result = translate(described("m=audio 5000 RTP/AVP 8 0 9"), browser_plan(), offer=chrome())
    assert names(result) == ["PCMA/8000", "PCMU/8000", "G722/8000", "telephone-event/8000"]


def test_opus_is_answered_with_the_other_sides_wishes() -> None:
    """RFC 7587: its parameters declare what their writer wants to receive."""
    theirs = "m=audio 5000 RTP/AVP 96|a=rtpmap:96 opus/48000/2|a=fmtp:96 maxaveragebitrate=20000"
    (opus, *_) = read_codecs(audio(translate(described(theirs), browser_plan(), offer=chrome())))
    assert (opus.payload_type, opus.fmtp) == (111, "maxaveragebitrate=20000")


def test_an_early_answer_needs_no_other_side() -> None:
    """What we can turn into each other, in our order, with digits at every clock rate."""
    result = answer(chrome(), browser_plan())
    assert names(result) == [
        "opus/48000/2",
        "G722/8000",
        "PCMU/8000",
        "PCMA/8000",
        "telephone-event/48000",
        "telephone-event/8000",
    ]


def test_an_early_answer_without_policy_takes_what_is_offered() -> None:
    """No policy: every codec of the offer."""
    result = answer(described(PHONE_AUDIO), phone_plan(codecs=CodecPolicy()))
    assert names(result) == ["PCMA/8000", "PCMU/8000", "telephone-event/8000"]


def test_the_early_answers_order_may_be_the_callees() -> None:
    """The trunk is known to prefer PCMA: then no transcoding is needed later."""
    plan = browser_plan(codecs=replace(POLICY, order=("pcma", "opus")))
    assert names(answer(chrome(), plan))[:2] == ["PCMA/8000", "opus/48000/2"]


# Phone calls browser


def test_a_phones_offer_becomes_one_to_the_browser() -> None:
    """actpass, new mids, our msid, the phone's codecs first."""
    offer = translate(described(PHONE_AUDIO), browser_plan())
    section = audio(offer)
    assert section.protocol == "UDP/TLS/RTP/SAVPF"
    assert offer.values("group") == ("BUNDLE 0",)
    assert section.value("setup") == "actpass"
    assert section.value("mid") == "0"
    assert section.has("rtcp-mux")
    assert names(offer)[:4] == ["PCMU/8000", "PCMA/8000", "opus/48000/2", "G722/8000"]


def test_the_browsers_answer_becomes_one_to_the_phone() -> None:
    """Only the phone's own codecs and payload types."""
    offer_a = described(PHONE_AUDIO)
    theirs = browser("m=audio 9 UDP/TLS/RTP/SAVPF 0 96|a=rtpmap:96 telephone-event/8000")
    result = translate(theirs, phone_plan(), offer=offer_a)
    assert numbers(result) == {"PCMU/8000": 0, "telephone-event/8000": 101}
    assert "ice" not in str(result)


@by_row("kind", ["rtp", "avpf", "sdes", "dtls"])
@by_row("other", ["rtp", "webrtc", "sdes"])
def test_every_kind_meets_every_other(kind: str, other: str) -> None:
    """Offer, answer, and the payload map, whoever calls."""
    plan_a = phone_plan(kind)
    plan_b = browser_plan() if other == "webrtc" else phone_plan(other)
    profile = {"rtp": "RTP/AVP", "avpf": "RTP/AVPF", "sdes": "RTP/SAVP", "dtls": "UDP/TLS/RTP/SAVP"}[kind]
    keys = {"sdes": f"|a=crypto:{KEYS[1]}", "dtls": f"|a=fingerprint:{FINGERPRINT}|a=setup:actpass"}.get(kind, "")
    offer_a = described(PHONE_AUDIO.replace("RTP/AVP", profile) + keys)
    offer_b = translate(offer_a, plan_b)
    far = phone_plan(other) if other != "webrtc" else browser_plan(ssrcs=())
    answer_b = answer(offer_b, far)
    answer_a = translate(answer_b, plan_a, offer=offer_a)
    assert audio(answer_a).protocol == profile
    side_a = negotiate(offer_a, answer_a, local="answerer")
    side_b = negotiate(offer_b, answer_b, local="offerer")
    ((a, b),) = pair_media(side_a, side_b)
    assert payload_map(a.receive, b.send)[8] == 8
    assert (a.crypto_local is not None) == (kind == "sdes")
    assert (a.dtls_role == "passive") == (kind == "dtls")


# Directions and hold


@by_row("direction", ["sendrecv", "sendonly", "recvonly", "inactive"])
def test_a_direction_passes_through_an_offer(direction: str) -> None:
    """We stand in the caller's place."""
    offer = translate(described(f"{PHONE_AUDIO}|a={direction}"), browser_plan())
    assert audio(offer).direction == direction


def test_hold_by_address_is_passed_on_as_a_direction() -> None:
    """RFC 3264 section 8.4: c=0.0.0.0 is never written by us."""
    offer = translate(described(PHONE_AUDIO, address="0.0.0.0"), browser_plan())
    assert audio(offer).direction == "sendonly"
    both = translate(described(PHONE_AUDIO + "|a=recvonly", address="0.0.0.0"), phone_plan())
    assert audio(both).direction == "inactive"
    assert "0.0.0.0" not in str(both)


@by_row(
    ("offered", "answered", "result"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendonly", "recvonly", "recvonly"),
        ("sendonly", "sendrecv", "recvonly"),
        ("sendrecv", "sendonly", "sendonly"),
        ("recvonly", "recvonly", "inactive"),
        ("inactive", "sendrecv", "inactive"),
    ],
)
def test_no_more_is_answered_than_both_say(offered: str, answered: str, result: str) -> None:
    """The answer is limited by the offer and by the other side's answer."""
    offer = browser(CHROME_AUDIO.replace("a=sendrecv", f"a={offered}"))
    made = translate(described(f"{PCMU_ANSWER}|a={answered}"), browser_plan(), offer=offer)
    assert audio(made).direction == result
    assert audio(made).has("msid") == (result in ("sendrecv", "sendonly"))


def test_the_plan_may_limit_the_direction() -> None:
    """An announcement only sends."""
    assert audio(answer(chrome(), browser_plan(direction=Direction.SENDONLY))).direction == "sendonly"
    assert audio(translate(chrome(), phone_plan(direction=Direction.RECVONLY))).direction == "recvonly"


# Failure


@by_row(
    ("source", "plan"),
    [
        (described("m=audio 4000 RTP/AVP 18"), phone_plan(codecs=CodecPolicy(only=("pcmu",)))),
        (described(PHONE_AUDIO), phone_plan(transports=())),
        (described(PHONE_AUDIO), phone_plan(media=("video",))),
        (described("m=audio 4000 udptl 0"), phone_plan()),
        (described("m=message 4000 TCP/MSRP *"), phone_plan()),
    ],
)
def test_an_offer_that_cannot_be_passed_on_is_488(source: SessionDescription, plan: Plan) -> None:
    """Nothing is left to offer."""
    with pytest.raises(SdpNegotiationError):
        translate(source, plan)


@by_row(
    ("offer", "plan"),
    [
        (described("m=audio 4000 RTP/AVP 18"), phone_plan()),
        (described("m=audio 4000 RTP/SAVP 0"), phone_plan()),
        (described("m=audio 4000 RTP/AVP 0"), phone_plan("sdes")),
        (described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]} UNENCRYPTED_SRTP"), phone_plan("sdes")),
        (described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]}"), phone_plan("rtp")),
        (described("m=audio 4000 RTP/AVP 0"), browser_plan()),
        (described("m=audio 4000 udptl t38"), phone_plan()),
        (chrome(), browser_plan(transports=())),
        (chrome(), browser_plan(transports=(TransportPlan(GATEWAY, 3478, ice=ICE),))),
        (chrome(), phone_plan()),
    ],
)
def test_an_offer_that_cannot_be_answered_is_488(offer: SessionDescription, plan: Plan) -> None:
    """No codec, no key, another profile than the side speaks: never a downgrade."""
    with pytest.raises(SdpNegotiationError):
        answer(offer, plan)


@by_row("theirs", ["m=audio 0 RTP/AVP 0", "m=video 5000 RTP/AVP 31", "m=audio 5000 RTP/AVP 18"])
def test_an_answer_that_accepts_nothing_is_488(theirs: str) -> None:
    """The other side took none of it, or what we cannot carry."""
    with pytest.raises(SdpNegotiationError):
        translate(described(theirs), browser_plan(), offer=chrome())


def test_an_offer_without_media_is_answered_without() -> None:
    """RFC 4317 section 4.3: a session may begin empty."""
    assert answer(described(), phone_plan()).media == ()
    assert translate(described(), phone_plan()).media == ()
    assert str(translate(described(), phone_plan(transports=()))).count("c=IN IP4 198.51.100.1") == 1


# What else is said


def test_packet_times_and_bandwidth_pass_through() -> None:
    """They are the receiver's wishes; RS and RR are not."""
    source = described(f"{PHONE_AUDIO}|b=AS:80|b=RS:0|b=TIAS:64000|a=maxptime:60", session="b=CT:1000|b=RR:1")
    text = str(translate(source, browser_plan()))
    for line in ("b=AS:80", "b=TIAS:64000", "b=CT:1000", "a=ptime:20", "a=maxptime:60"):
        assert line in text
    assert "b=R" not in text
    assert text.index("b=AS") < text.index("a=mid")


def test_the_plan_may_ask_for_another_packet_time() -> None:
    """A trunk that insists on 30 ms."""
    assert audio(translate(described(PHONE_AUDIO), phone_plan(ptime=30))).values("ptime") == ("30",)


def test_an_answer_repeats_the_offers_times() -> None:
    """RFC 3264 section 6: t= is mirrored."""
    offer = SessionDescription.parse(str(described(PHONE_AUDIO)).replace("t=0 0", "t=3034423619 3042462419"))
    assert answer(offer, phone_plan()).field_values("t") == ("3034423619 3042462419",)
    bare = SessionDescription.parse(str(described(PHONE_AUDIO)).replace("t=0 0\r\n", ""))
    assert answer(bare, phone_plan()).field_values("t") == ("0 0",)


def test_the_version_rises_only_with_the_text() -> None:
    """RFC 3264 section 8: o= version rules."""
    plan = phone_plan()
    first = answer(described(PHONE_AUDIO), plan)
    again = answer(described(PHONE_AUDIO), replace(plan, previous=first, session_id=1, address="192.0.2.99"))
    assert str(again) == str(first)
    held = answer(described(PHONE_AUDIO + "|a=sendonly"), replace(plan, previous=first))
    assert held.field_values("o") == ("- 7002 2 IN IP4 198.51.100.1",)
    resumed = answer(described(PHONE_AUDIO), replace(plan, previous=held))
    assert resumed.field_values("o") == ("- 7002 3 IN IP4 198.51.100.1",)


def test_ipv6_is_said_as_such() -> None:
    """c= and o= name the address family."""
    plan = phone_plan(transports=(TransportPlan("2001:db8::1", 20000),), address="2001:db8::1")
    text = str(translate(chrome(), plan))
    assert "c=IN IP6 2001:db8::1" in text
    assert "o=- 7002 1 IN IP6 2001:db8::1" in text


def test_rtcp_is_announced_where_it_is_not_the_next_port() -> None:
    """RFC 3605."""
    plan = phone_plan(transports=(TransportPlan(GATEWAY, 20000, rtcp_port=30000),))
    assert audio(translate(chrome(), plan)).value("rtcp") == "30000"
    usual = phone_plan(transports=(TransportPlan(GATEWAY, 20000, rtcp_port=20001),))
    assert audio(translate(chrome(), usual)).value("rtcp") is None


def test_rtcp_mux_is_answered_only_where_offered_and_wanted() -> None:
    """RFC 5761 section 5.1.1: accepted, refused, or not offered at all."""
    mux = phone_plan(transports=(TransportPlan(GATEWAY, 20000, rtcp_mux=True),))
    assert audio(answer(described(PHONE_AUDIO + "|a=rtcp-mux"), mux)).has("rtcp-mux")
    assert not audio(answer(described(PHONE_AUDIO), mux)).has("rtcp-mux")
    assert not audio(answer(described(PHONE_AUDIO + "|a=rtcp-mux"), phone_plan())).has("rtcp-mux")
    assert audio(translate(chrome(), mux)).has("rtcp-mux")


def test_ice_options_and_trickle_are_said() -> None:
    """A full agent that still gathers: no end-of-candidates, no ice-lite."""
    ice = replace(ICE, lite=False, options=("trickle", "ice2"), complete=False, candidates=())
    transport = TransportPlan(GATEWAY, 3478, ice=ice, fingerprints=(FINGERPRINT,), tls_id="t" * 20)
    text = str(answer(chrome(), browser_plan(transports=(transport,))))
    assert "a=ice-options:trickle ice2" in text
    assert f"a=tls-id:{'t' * 20}" in text
    assert "end-of-candidates" not in text
    assert "ice-lite" not in text


def test_ice_is_not_answered_to_a_peer_without() -> None:
    """RFC 8839 section 4.2.2: an answer has ICE only where the offer had."""
    offer = described(f"m=audio 4000 UDP/TLS/RTP/SAVPF 0|a=fingerprint:{FINGERPRINT}|a=setup:active")
    result = answer(offer, browser_plan())
    assert "ice" not in str(result)
    assert audio(result).value("setup") == "passive"


def test_nobody_is_named_without_ssrc_or_stream() -> None:
    """msid and ssrc are said when the engine knows them."""
    assert not audio(answer(chrome(), browser_plan(ssrcs=()))).has("msid")
    plain = audio(answer(chrome(), browser_plan(cname="", stream="")))
    assert plain.value("msid") == "- audio-1001"
    assert not plain.has("ssrc")


@by_row(
    ("offered", "ours", "role"),
    [
        ("actpass", SetupRole.PASSIVE, "passive"),
        ("actpass", SetupRole.ACTIVE, "active"),
        ("active", SetupRole.ACTIVE, "passive"),
        ("passive", SetupRole.PASSIVE, "active"),
    ],
)
def test_our_dtls_role_complements_the_offers(offered: str, ours: SetupRole, role: str) -> None:
    """RFC 5763 section 5; where it is left to us the plan decides."""
    offer = SessionDescription.parse(str(chrome()).replace("a=setup:actpass", f"a=setup:{offered}"))
    transport = TransportPlan(GATEWAY, 3478, ice=ICE, fingerprints=(FINGERPRINT,), setup=ours)
    assert audio(answer(offer, browser_plan(transports=(transport,)))).value("setup") == role


def test_header_extensions_pass_only_by_name() -> None:
    """RFC 8285: what is not on the list does not pass, and transport-cc only with its extension."""
    level = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
    plan = browser_plan(extensions=(level,))
    made = translate(chrome(), plan)
    assert audio(made).values("extmap") == (f"1 {level}",)
    assert audio(translate(chrome(), plan, offer=chrome())).values("extmap") == (f"1 {level}",)
    assert not audio(answer(chrome(), plan)).has("extmap")
    assert not audio(translate(chrome(), browser_plan(), offer=chrome())).has("extmap")
    assert audio(translate(chrome(), phone_plan(extensions=(level,)))).values("extmap") == (f"1 {level}",)
    assert not audio(translate(chrome(), phone_plan())).has("extmap")
    assert "transport-cc" not in str(made)
    wide = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
    assert "a=rtcp-fb:111 transport-cc" in str(translate(chrome(), browser_plan(extensions=(wide,))))
    odd = browser(CHROME_AUDIO + "|a=extmap:9")
    assert audio(translate(chrome(), plan, offer=odd)).values("extmap") == (f"1 {level}",)


def test_codecs_without_numbers_may_be_offered() -> None:
    """The policy's codecs have no payload types until an offer gives them."""
    assert OPUS.payload_type is None
    assert Codec("opus", 48000, 2, 111, OPUS.fmtp) in read_codecs(audio(translate(chrome(), phone_plan())))
