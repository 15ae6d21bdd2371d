"""Properties of negotiation and translation over generated descriptions, and over what strangers may send."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sdp import (
    CodecPolicy,
    DataChannelPlan,
    Plan,
    SdpNegotiationError,
    SdpSyntaxError,
    SessionDescription,
    answer,
    negotiate,
    pair_media,
    payload_map,
    read_codecs,
    translate,
)
from sdp.codecs import find_match
from sdp.negotiation import said_direction
from sdp.trickle import TrickleFragment
from tests.sdp.plans import FINGERPRINT, KEYS, browser_plan, phone_plan
from tests.sdp.strategies import DESCRIPTIONS

AUDIO = {
    "0": "PCMU/8000",
    "8": "PCMA/8000",
    "9": "G722/8000",
    "18": "G729/8000",
    "96": "opus/48000/2",
    "97": "iLBC/8000",
    "101": "telephone-event/8000",
    "102": "telephone-event/48000",
}
VIDEO = {"31": "H261/90000", "98": "VP8/90000", "99": "H264/90000", "100": "rtx/90000", "104": "red/90000"}
DIRECTIONS = st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"])
PROFILES = {
    "rtp": ("RTP/AVP", ""),
    "sdes": ("RTP/SAVP", f"a=crypto:{KEYS[1]}"),
    "dtls": ("UDP/TLS/RTP/SAVP", f"a=fingerprint:{FINGERPRINT}\r\na=setup:actpass"),
    "webrtc": (
        "UDP/TLS/RTP/SAVPF",
        f"a=fingerprint:{FINGERPRINT}\r\na=setup:actpass\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 22}",
    ),
}


@st.composite
def offers(draw: st.DrawFn, kind: str) -> SessionDescription:
    """A sensible offer of a peer of that kind, of audio, video and data sections, some rejected, some on hold."""
    profile, common = PROFILES[kind]
    lines: list[str] = []
    mids = []
    for number in range(draw(st.integers(1, 4))):
        media: str = draw(st.sampled_from(["audio", "audio", "video", "application"]))
        port: int = draw(st.sampled_from([0, 4000, 5000, 9]))
        if media == "application":
            lines += [f"m=application {port} UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000"]
            lines += PROFILES["dtls"][1].split("\r\n")
        else:
            known = AUDIO if media == "audio" else VIDEO
            formats: list[str] = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=5, unique=True))
            lines += [f"m={media} {port} {profile} {' '.join(formats)}", *filter(None, common.split("\r\n"))]
            lines += [f"a=rtpmap:{text} {known[text]}" for text in formats]
            lines += ["a=fmtp:100 apt=98"] if "100" in formats else []
            lines.append(f"a={draw(DIRECTIONS)}")
        if kind == "webrtc":
            lines.append(f"a=mid:m{number}")
            mids.append(f"m{number}")
    address = draw(st.sampled_from(["203.0.113.9", "10.0.0.5", "0.0.0.0"]))
    head = ["v=0", "o=- 1 1 IN IP4 203.0.113.9", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    if draw(st.booleans()) and mids:
        head.append("a=group:BUNDLE " + " ".join(mids))
    return SessionDescription.parse("\r\n".join([*head, *lines, ""]))


def plan_for(kind: str) -> Plan:
    return browser_plan() if kind == "webrtc" else phone_plan(kind)


KINDS = st.sampled_from(sorted(PROFILES))
CALLS = KINDS.flatmap(lambda kind: st.tuples(st.just(kind), offers(kind), KINDS))


def check_answer(offer: SessionDescription, made: SessionDescription) -> None:
    """No more sections, codecs, directions, keys or groups than offered."""
    assert len(made.media) == len(offer.media)
    for offered, answered in zip(offer.media, made.media, strict=True):
        assert (answered.kind, answered.protocol) == (offered.kind, offered.protocol)
        assert answered.value("mid") == offered.value("mid")
        if not answered.port:
            continue
        assert offered.port
        assert answered.formats
        ours = read_codecs(answered)
        numbers = {codec.payload_type: codec for codec in read_codecs(offered)}
        assert all(find_match(codec, [numbers[codec.payload_type]]) for codec in ours)
        direction = said_direction(made, answered)
        wanted = said_direction(offer, offered).reversed()
        assert answered.kind == "application" or direction.limited_to(wanted) == direction
    offered_groups = {mid for value in offer.values("group") for mid in value.split()}
    assert {mid for value in made.values("group") for mid in value.split()} <= offered_groups


@given(CALLS)
def test_no_more_is_answered_than_was_offered(call: tuple[str, SessionDescription, str]) -> None:
    """Early, and through the gateway with the other side's answer."""
    kind, offer, other = call
    plan = plan_for(kind)
    for policy in (plan.codecs, CodecPolicy()):
        try:
            check_answer(offer, answer(offer, replace(plan, codecs=policy, data_channel=DataChannelPlan())))
        except SdpNegotiationError:
            pass
    try:
        offer_b = translate(offer, plan_for(other))
        answer_b = answer(offer_b, plan_for(other))
        check_answer(offer_b, answer_b)
        check_answer(offer, translate(answer_b, plan, offer=offer))
    except SdpNegotiationError:
        pass


@given(CALLS)
def test_there_and_back_keeps_what_both_sides_can_say(call: tuple[str, SessionDescription, str]) -> None:
    """Kinds, order, directions and every codec of the source survive a way through any other kind."""
    kind, offer, other = call
    plan = replace(plan_for(other), codecs=CodecPolicy(events=False), size_limit=100_000)
    back_plan = replace(plan_for(kind), codecs=CodecPolicy(events=False), size_limit=100_000)
    try:
        there = translate(offer, plan)
        back = translate(there, back_plan)
    except SdpNegotiationError:
        return
    carried = [media for media in offer.media if media.kind in plan.media and media.port]
    returned = [media for media in back.media if media.port]
    usable = [media for media in carried if any(codec.is_media or codec.is_event for codec in read_codecs(media))]
    assert len(returned) <= len(usable)
    for source in carried:
        names = {codec.key for codec in read_codecs(source) if codec.is_media}
        if len(carried) == 1 and returned:
            assert names == {codec.key for codec in read_codecs(returned[0]) if codec.is_media}
            assert said_direction(back, returned[0]) == said_direction(offer, source)


@given(CALLS)
def test_a_call_ends_in_maps_that_hit(call: tuple[str, SessionDescription, str]) -> None:
    """What either side may receive is mapped to numbers that the other accepts."""
    kind, offer_a, other = call
    try:
        offer_b = translate(offer_a, plan_for(other))
        answer_b = answer(offer_b, plan_for(other))
        answer_a = translate(answer_b, plan_for(kind), offer=offer_a)
    except SdpNegotiationError:
        return
    side_a = negotiate(offer_a, answer_a, local="answerer")
    side_b = negotiate(offer_b, answer_b, local="offerer")
    for a, b in pair_media(side_a, side_b):
        mapped = payload_map(a.receive, b.send)
        assert set(mapped) <= {codec.payload_type for codec in a.receive}
        assert set(mapped.values()) <= {codec.payload_type for codec in b.send}


@given(CALLS)
def test_a_reoffer_without_change_is_the_same_text(call: tuple[str, SessionDescription, str]) -> None:
    """Ports, mids, payload types and the version stay what they were."""
    _, offer, other = call
    try:
        first = translate(offer, plan_for(other))
    except SdpNegotiationError:
        return
    assert str(translate(offer, replace(plan_for(other), previous=first))) == str(first)


@given(DESCRIPTIONS, DESCRIPTIONS, KINDS)
def test_no_input_raises_anything_but_our_errors(one: str, other: str, kind: str) -> None:
    """Whatever a stranger sends as an offer or as an answer."""
    first, second = SessionDescription.parse(one), SessionDescription.parse(other)
    plan = replace(
        plan_for(kind), media=("audio", "video", "text"), data_channel=DataChannelPlan(), codecs=CodecPolicy()
    )
    attempts = (
        lambda: translate(first, plan),
        lambda: translate(first, replace(plan, previous=second)),
        lambda: answer(first, plan),
        lambda: answer(first, replace(plan, previous=second)),
        lambda: translate(first, plan, offer=second),
        lambda: negotiate(first, second, local="offerer"),
        lambda: negotiate(first, first, local="answerer"),
    )
    for attempt in attempts:
        try:
            attempt()
        except (SdpNegotiationError, SdpSyntaxError):
            pass


@given(st.text() | st.binary() | DESCRIPTIONS.map(lambda text: text.removeprefix("v=0\r\n")))
def test_no_fragment_raises_anything_but_our_error(text: str | bytes) -> None:
    """A trickle INFO's body is a stranger's too; what is read writes as what it was."""
    try:
        fragment = TrickleFragment.parse(text)
    except SdpSyntaxError:
        return
    assert TrickleFragment.parse(str(fragment)) == fragment


@given(CALLS)
def test_what_is_written_reads_as_it_was_meant(call: tuple[str, SessionDescription, str]) -> None:
    """The codecs known of a written section are those that its text says."""
    kind, offer, other = call
    for make, plan in ((translate, plan_for(other)), (answer, plan_for(kind))):
        try:
            made = make(offer, plan)
        except SdpNegotiationError:
            continue
        again = SessionDescription.parse(str(made))
        assert [read_codecs(media) for media in made.media] == [read_codecs(media) for media in again.media]
