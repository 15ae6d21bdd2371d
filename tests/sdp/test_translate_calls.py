"""Translation over the life of a call: re-offers, several sections, keys, video, data, and what must not leak."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdp import (
    CodecPolicy,
    DataChannelPlan,
    SdpNegotiationError,
    SessionDescription,
    TransportPlan,
    answer,
    negotiate,
    pair_media,
    read_codecs,
    translate,
)
from sdp.attributes import Crypto, SetupRole
from sdp.passing import sctp_port
from tests.sdp.plans import (
    CHROME_AUDIO,
    CHROME_DATA,
    CHROME_VIDEO,
    FINGERPRINT,
    GATEWAY,
    ICE,
    KEYS,
    PHONE_AUDIO,
    browser,
    browser_plan,
    chrome,
    corpus,
    described,
    phone_plan,
)

PHONE_VIDEO = (
    "m=video 4002 RTP/AVP 97 99|a=rtpmap:97 H264/90000"
    "|a=fmtp:97 profile-level-id=42801f;packetization-mode=1|a=rtpmap:99 H264/90000"
    "|a=fmtp:99 profile-level-id=42e01f"
)


def layout(description: SessionDescription) -> list[tuple[str, int]]:
    return [(media.kind, media.port) for media in description.media]


def codecs(description: SessionDescription, index: int) -> list[str]:
    return [codec.name for codec in read_codecs(description.media[index])]


# Sections keep their places


def test_a_removed_section_keeps_its_place() -> None:
    """Its m= line stays with port 0, mid and order unchanged."""
    plan = browser_plan()
    first = translate(described(PHONE_AUDIO, PHONE_VIDEO), plan)
    second = translate(described(PHONE_AUDIO), replace(plan, previous=first))
    assert layout(second) == [("audio", 3478), ("video", 0)]
    assert [media.value("mid") for media in second.media] == ["0", "1"]
    assert second.values("group") == ("BUNDLE 0",)
    third = translate(described(PHONE_AUDIO, PHONE_VIDEO), replace(plan, previous=second))
    assert layout(third) == [("audio", 3478), ("video", 3478)]
    assert [media.value("mid") for media in third.media] == ["0", "1"]


def test_a_section_refused_by_the_other_side_keeps_its_place() -> None:
    """Video offered by a browser and refused by the phone is there with port 0 in each later offer."""
    offer_a = chrome(video=True)
    phone = described(PHONE_AUDIO, "m=video 0 RTP/AVP 31")
    answer_a = translate(phone, browser_plan(), offer=offer_a)
    assert layout(answer_a) == [("audio", 3478), ("video", 0)]
    assert answer_a.media[1].value("mid") == "1"
    assert answer_a.values("group") == ("BUNDLE 0",)
    again = translate(phone, browser_plan(previous=answer_a))
    assert layout(again) == [("audio", 3478), ("video", 0)]
    assert again.media[0].value("mid") == "0"


def test_a_section_added_later_gets_a_new_mid_at_the_end() -> None:
    """RFC 8829 section 5.2.2: new sections follow."""
    plan = browser_plan()
    first = translate(described(PHONE_AUDIO + "|a=mid:zero"), plan)
    second = translate(described(PHONE_VIDEO, PHONE_AUDIO), replace(plan, previous=first))
    assert [(media.kind, media.value("mid")) for media in second.media] == [("audio", "0"), ("video", "1")]


def test_a_second_section_of_a_kind_keeps_its_own_transport() -> None:
    """The first being rejected does not move the second's port."""
    plan = phone_plan(media=("audio",))
    first = translate(described(PHONE_AUDIO, PHONE_AUDIO), plan)
    assert [media.port for media in first.media] == [20000, 20002]
    second = translate(described("m=audio 0 RTP/AVP 0", PHONE_AUDIO), replace(plan, previous=first))
    assert [media.port for media in second.media] == [0, 20002]


def test_a_rejected_section_before_a_live_one_is_kept_in_a_first_offer() -> None:
    """So that the n-th of a kind stays the n-th on both sides."""
    made = translate(described("m=audio 0 RTP/AVP 0", PHONE_AUDIO, "m=audio 0 RTP/AVP 0"), phone_plan())
    assert [media.port for media in made.media] == [0, 20002]
    browser_side = translate(described("m=audio 0 RTP/AVP 0", PHONE_AUDIO), browser_plan())
    assert [(media.value("mid"), media.protocol) for media in browser_side.media] == [
        ("0", "UDP/TLS/RTP/SAVPF"),
        ("1", "UDP/TLS/RTP/SAVPF"),
    ]
    assert browser_side.values("group") == ("BUNDLE 1",)


def test_a_reused_section_of_another_kind_is_answered_as_that() -> None:
    """RFC 3264 section 8.2: a rejected m= line may come back as something else."""
    plan = phone_plan()
    first = answer(described(PHONE_AUDIO, "m=video 0 RTP/AVP 31"), plan)
    second = answer(described(PHONE_AUDIO, PHONE_AUDIO), replace(plan, previous=first))
    assert layout(second) == [("audio", 20000), ("audio", 20002)]


def test_a_kind_that_is_not_carried_is_left_out_of_offers() -> None:
    """A phone never hears of data channels; in a later offer the place is kept."""
    plan = phone_plan(media=("audio",))
    assert layout(translate(chrome(video=True, data=True), plan)) == [("audio", 20000)]
    assert layout(answer(described(PHONE_AUDIO, PHONE_VIDEO), plan)) == [("audio", 20000), ("video", 0)]
    kept = browser_plan(media=("audio",), previous=translate(described(PHONE_VIDEO, PHONE_AUDIO), browser_plan()))
    assert layout(translate(described(PHONE_VIDEO, PHONE_AUDIO), kept)) == [("video", 0), ("audio", 3478)]


def test_the_offer_of_a_side_that_answered_before_keeps_its_mids() -> None:
    """What the browser named stays named so when we offer."""
    offer_a = browser(CHROME_AUDIO + "|a=mid:sdparta_0", session="a=group:BUNDLE sdparta_0")
    first = translate(described(PHONE_AUDIO), browser_plan(), offer=offer_a)
    second = translate(described(PHONE_AUDIO + "|a=sendonly"), browser_plan(previous=first))
    assert second.media[0].value("mid") == "sdparta_0"
    assert second.media[0].value("setup") == "actpass"
    assert second.media[0].direction == "sendonly"
    assert second.field_values("o") == ("- 7001 2 IN IP4 198.51.100.1",)


def test_more_sections_than_transports_are_refused() -> None:
    """Without BUNDLE each section needs a port of its own."""
    one = phone_plan(transports=(TransportPlan(GATEWAY, 20000),))
    assert layout(answer(described(PHONE_AUDIO, PHONE_AUDIO), one)) == [("audio", 20000), ("audio", 0)]
    assert layout(translate(described(PHONE_AUDIO, PHONE_AUDIO), one)) == [("audio", 20000)]


def test_a_section_on_another_address_says_so() -> None:
    """One c= line for the session, another in the section that differs."""
    plan = phone_plan(transports=(TransportPlan(GATEWAY, 20000), TransportPlan("198.51.100.2", 20002)))
    made = translate(described(PHONE_AUDIO, PHONE_VIDEO), plan)
    assert made.field_values("c") == ("IN IP4 198.51.100.1",)
    assert [media.field_values("c") for media in made.media] == [(), ("IN IP4 198.51.100.2",)]


# DTLS roles


@pytest.mark.parametrize("role", ["active", "passive"])
def test_the_dtls_role_is_kept_on_reoffers(role: str) -> None:
    """While the offer still says actpass nobody changes sides, whatever the plan would choose."""
    other = SetupRole.ACTIVE if role == "passive" else SetupRole.PASSIVE
    transport = TransportPlan(GATEWAY, 3478, ice=ICE, fingerprints=(FINGERPRINT,), setup=other)
    before = answer(chrome(), browser_plan())
    before = SessionDescription.parse(str(before).replace("a=setup:passive", f"a=setup:{role}"))
    again = answer(chrome(), browser_plan(transports=(transport,), previous=before))
    assert again.media[0].value("setup") == role


def test_the_role_after_our_own_offer_is_the_plans() -> None:
    """actpass is no role: the engine says which one the browser's answer gave us."""
    transport = TransportPlan(GATEWAY, 3478, ice=ICE, fingerprints=(FINGERPRINT,), setup=SetupRole.ACTIVE)
    ours = translate(described(PHONE_AUDIO), browser_plan())
    again = answer(chrome(), browser_plan(transports=(transport,), previous=ours))
    assert again.media[0].value("setup") == "active"
    longer = answer(chrome(video=True), browser_plan(previous=ours, codecs=CodecPolicy()))
    assert [media.value("setup") for media in longer.media] == ["passive", "passive"]


# BUNDLE


def test_bundle_is_accepted_in_one_group() -> None:
    """All accepted sections share the first one's transport."""
    result = answer(chrome(video=True), browser_plan(codecs=CodecPolicy()))
    assert result.values("group") == ("BUNDLE 0 1",)
    assert [media.port for media in result.media] == [3478, 3478]
    assert [media.value("msid") for media in result.media] == ["gateway audio-1001", "gateway video-1002"]


def test_bundle_refused_gives_each_section_its_own_transport() -> None:
    """RFC 9143 section 7.3.2: no group in the answer."""
    transports = tuple(TransportPlan(GATEWAY, port, ice=ICE, fingerprints=(FINGERPRINT,)) for port in (3478, 3480))
    plan = browser_plan(bundle=False, transports=transports, codecs=CodecPolicy())
    result = answer(chrome(video=True), plan)
    assert result.values("group") == ()
    assert [media.port for media in result.media] == [3478, 3480]
    offer = translate(described(PHONE_AUDIO, PHONE_VIDEO), plan)
    assert offer.values("group") == ()
    assert [media.port for media in offer.media] == [3478, 3480]


def test_a_bundle_only_section_is_refused_outside_a_bundle() -> None:
    """RFC 9143 section 7.3.3: it has no transport of its own."""
    second = CHROME_AUDIO.replace("m=audio 9", "m=audio 0") + "|a=bundle-only"
    offer = browser(CHROME_AUDIO, second, session="a=group:BUNDLE 0 1")
    assert [media.port for media in answer(offer, browser_plan()).media] == [3478, 3478]
    transports = browser_plan().transports * 2
    assert [m.port for m in answer(offer, browser_plan(bundle=False, transports=transports)).media] == [3478, 0]


def test_sections_of_other_groups_are_not_joined() -> None:
    """One transport cannot serve two groups."""
    offer = browser(CHROME_AUDIO, CHROME_AUDIO, session="a=group:BUNDLE 0|a=group:BUNDLE 1")
    assert [media.port for media in answer(offer, browser_plan()).media] == [3478, 0]
    alone = browser(CHROME_AUDIO, CHROME_AUDIO, session="a=group:BUNDLE 0|a=group")
    assert answer(alone, browser_plan()).values("group") == ("BUNDLE 0",)


# SDES and best-effort SRTP


def test_the_first_suite_that_we_have_is_answered_under_its_tag() -> None:
    """RFC 4568 section 5.1.2."""
    unknown = "7 F8_128_HMAC_SHA1_80 inline:" + str(KEYS[1]).split("inline:")[1]
    theirs = str(replace(KEYS[1], tag=9))
    result = answer(described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{unknown}|a=crypto:{theirs}"), phone_plan("sdes"))
    assert result.media[0].all(Crypto) == (replace(KEYS[1], tag=9),)


def test_opportunistic_srtp_is_answered_under_its_own_profile() -> None:
    """RFC 8643: RTP/AVP with keys."""
    result = answer(described(f"{PHONE_AUDIO}|a=crypto:{KEYS[1]}"), phone_plan("sdes"))
    assert result.media[0].protocol == "RTP/AVP"
    assert result.media[0].has("crypto")
    dtls = answer(described(f"{PHONE_AUDIO}|a=fingerprint:{FINGERPRINT}"), phone_plan("dtls"))
    assert dtls.media[0].has("fingerprint")


BEST_EFFORT = (PHONE_AUDIO.replace("RTP/AVP", "RTP/SAVP") + f"|a=crypto:{KEYS[1]}", PHONE_AUDIO)


def test_best_effort_srtp_is_one_stream_toward_the_browser() -> None:
    """Two m=audio lines, SAVP and AVP, are alternatives."""
    offer = described(*BEST_EFFORT)
    assert layout(translate(offer, browser_plan())) == [("audio", 3478)]
    secure = translate(browser("m=audio 9 UDP/TLS/RTP/SAVPF 0"), phone_plan("sdes"), offer=offer)
    assert [(m.protocol, m.port) for m in secure.media] == [("RTP/SAVP", 20000), ("RTP/AVP", 0)]
    plain = translate(browser("m=audio 9 UDP/TLS/RTP/SAVPF 0"), phone_plan("rtp"), offer=offer)
    assert [(m.protocol, m.port) for m in plain.media] == [("RTP/SAVP", 0), ("RTP/AVP", 20000)]
    both = answer(offer, phone_plan("best-effort"))
    assert [m.port for m in both.media] == [20000, 0]


def test_best_effort_srtp_keeps_both_lines_in_later_offers() -> None:
    """For alternatives too: the refused one stays refused."""
    before = answer(described(*BEST_EFFORT), phone_plan("sdes"))
    again = translate(chrome(), phone_plan("sdes", previous=before))
    assert [(m.protocol, m.port) for m in again.media] == [("RTP/SAVP", 20000), ("RTP/AVP", 0)]
    fallen = translate(chrome(), phone_plan("rtp", previous=before))
    assert [(m.protocol, m.port) for m in fallen.media] == [("RTP/SAVP", 0), ("RTP/AVP", 20000)]
    gone = translate(described("m=audio 0 RTP/AVP 0"), phone_plan("rtp", previous=before))
    assert [m.port for m in gone.media] == [0, 0]


def test_best_effort_srtp_may_be_offered() -> None:
    """Both lines with one port; the answer that takes either is one stream for the browser."""
    plan = phone_plan("best-effort")
    offer = translate(chrome(), plan)
    assert [(m.protocol, m.port) for m in offer.media] == [("RTP/SAVP", 20000), ("RTP/AVP", 20000)]
    assert offer.media[0].has("crypto")
    assert not offer.media[1].has("crypto")
    theirs = described("m=audio 0 RTP/SAVP 0", "m=audio 5000 RTP/AVP 0")
    result = translate(theirs, browser_plan(), offer=chrome())
    assert layout(result) == [("audio", 3478)]
    side_b = negotiate(offer, theirs, local="offerer")
    side_a = negotiate(chrome(), result, local="answerer")
    assert [(a.index, b.index) for a, b in pair_media(side_a, side_b)] == [(0, 1)]
    again = translate(chrome(), replace(plan, previous=offer))
    assert again == offer
    odd = translate(chrome(), replace(plan, transports=(TransportPlan(GATEWAY, 2, profile="RTP/X", crypto=KEYS),)))
    assert [m.protocol for m in odd.media] == ["RTP/X", "RTP/AVP"]


def test_a_profile_is_kept_while_it_protects_as_planned() -> None:
    """A phone that asked for SAVPF gets SAVPF again; a plan of another kind starts anew."""
    asked = described(f"m=audio 4000 RTP/SAVPF 0|a=crypto:{KEYS[1]}")
    before = answer(asked, phone_plan("sdes"))
    assert translate(chrome(), phone_plan("sdes", previous=before)).media[0].protocol == "RTP/SAVPF"
    assert translate(chrome(), phone_plan("rtp", previous=before)).media[0].protocol == "RTP/AVP"


# Video


def test_video_reaches_a_phone_without_repair_formats() -> None:
    """One profile a codec, both packetization modes of H.264, no rtx, red, ulpfec, no feedback in AVP."""
    offer = translate(chrome(video=True), phone_plan())
    assert codecs(offer, 1) == ["VP8", "VP9", "H264", "H264", "AV1"]
    assert not offer.media[1].has("rtcp-fb")


def test_h264_is_answered_where_profile_and_mode_match() -> None:
    """The browser's own payload type and parameters, with the feedback that we understand."""
    phone = described(PHONE_AUDIO, PHONE_VIDEO.split("|a=rtpmap:99")[0])
    result = translate(phone, browser_plan(), offer=chrome(video=True))
    (h264,) = read_codecs(result.media[1])
    assert (h264.payload_type, h264.feedback) == (102, ("nack pli",))
    assert "profile-level-id=42001f" in h264.fmtp


def test_video_that_does_not_match_is_refused() -> None:
    """Video is never transcoded."""
    phone = described(PHONE_AUDIO, "m=video 4002 RTP/AVP 31")
    assert layout(translate(phone, browser_plan(), offer=chrome(video=True))) == [("audio", 3478), ("video", 0)]


def test_a_phones_video_is_offered_to_the_browser_with_feedback() -> None:
    """RFC 4585: we turn the browser's PLI and FIR into what the phone understands."""
    offer = translate(described(PHONE_AUDIO, PHONE_VIDEO), browser_plan())
    assert codecs(offer, 1) == ["H264", "H264"]
    assert offer.media[1].values("rtcp-fb") == ("97 ccm fir", "97 nack pli", "99 ccm fir", "99 nack pli")


def test_between_browsers_repair_formats_and_feedback_pass() -> None:
    """rtx with its codec, red and ulpfec; transport-cc not, since its extension does not pass."""
    plan = browser_plan(codecs=CodecPolicy())
    offer = translate(chrome(video=True), plan)
    assert sorted(codecs(offer, 1)) == sorted(codecs(chrome(video=True), 1))
    far = browser(CHROME_AUDIO, CHROME_VIDEO.replace("a=rtpmap:97 rtx/90000", "a=x"), session="a=group:BUNDLE 0 1")
    result = translate(far, plan, offer=chrome(video=True))
    vp8 = next(codec for codec in read_codecs(result.media[1]) if codec.name == "VP8")
    assert vp8.feedback == ("goog-remb", "ccm fir", "nack", "nack pli")
    assert [c.payload_type for c in read_codecs(result.media[1]) if c.name == "rtx"] == [99, 103, 105, 46, 115]


REPEATING = CodecPolicy(video=("h264", "vp8", "rtx"), repeats=True)
"""Of a gateway that keeps the packets it has sent to a browser."""


def repeated(description: SessionDescription) -> dict[int | None, str]:
    """The codecs of the video section that are sent again by request, with the payload type of each rtx."""
    said = {codec.payload_type: codec for codec in read_codecs(description.media[1])}
    return {
        number: said[int(codec.fmtp.removeprefix("apt="))].name
        for number, codec in said.items()
        if codec.name == "rtx" and codec.clock_rate == 90_000
    }


def test_a_browser_is_offered_retransmission_of_each_codec_of_a_phone() -> None:
    """RFC 4588: we send it again ourselves, so the phone needs no rtx; later offers keep the numbers."""
    plan, phone = browser_plan(codecs=REPEATING, repair_ssrcs=(0, 2002)), described(PHONE_AUDIO, PHONE_VIDEO)
    offer = translate(phone, plan)
    assert list(repeated(offer).values()) == ["H264", "H264"]
    assert offer.media[1].values("ssrc-group") == ("FID 1002 2002",)
    again = translate(described(PHONE_AUDIO, PHONE_VIDEO + "|a=sendonly"), replace(plan, previous=offer))
    assert repeated(again) == repeated(offer)
    assert "rtx" not in codecs(translate(phone, phone_plan(codecs=REPEATING)), 1)


def test_a_browser_is_offered_each_retransmission_once() -> None:
    """Beside those that the other browser has itself, whose numbers stay its own."""
    some = CHROME_VIDEO.replace("a=rtpmap:97 rtx/90000", "a=x")
    offer = translate(browser(CHROME_AUDIO, some), browser_plan(codecs=REPEATING))
    assert sorted(repeated(offer).values()) == ["H264", "H264", "VP8"]
    assert {103: "H264", 105: "H264"}.items() < repeated(offer).items()


def test_a_browser_is_answered_its_own_retransmission_though_the_phone_has_none() -> None:
    """Of what the phone takes, under the browser's number; of nothing else."""
    phone = described(PHONE_AUDIO, PHONE_VIDEO.split("|a=rtpmap:99")[0])
    plan = browser_plan(codecs=REPEATING, repair_ssrcs=(0, 2002))
    result = translate(phone, plan, offer=chrome(video=True))
    assert [(codec.name, codec.payload_type) for codec in read_codecs(result.media[1])] == [("H264", 102), ("rtx", 103)]
    assert result.media[1].values("ssrc-group") == ("FID 1002 2002",)


def test_video_is_refused_in_an_early_answer_that_only_transcodes_audio() -> None:
    """We cannot be the far end of video."""
    assert layout(answer(chrome(video=True), browser_plan())) == [("audio", 3478), ("video", 0)]


def test_payload_types_are_unique_within_a_bundle() -> None:
    """RFC 9143 section 10.1.1: one number, one codec, across bundled sections."""
    both = described(
        "m=audio 4000 RTP/AVP 97|a=rtpmap:97 opus/48000/2", "m=video 4002 RTP/AVP 97|a=rtpmap:97 VP8/90000"
    )
    made = translate(both, browser_plan(codecs=CodecPolicy()))
    given = [codec.payload_type for media in made.media for codec in read_codecs(media)]
    assert len(given) == len(set(given))


# Data channels and text


def test_data_channels_are_refused_cleanly() -> None:
    """Port 0, the mid kept, out of the group."""
    result = answer(chrome(data=True), browser_plan())
    assert layout(result) == [("audio", 3478), ("application", 0)]
    assert result.media[1].lines == (
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:1",
        "a=inactive",
    )


def test_data_channels_are_answered_where_the_plan_ends_them() -> None:
    """RFC 8841: our own association."""
    plan = browser_plan(data_channel=DataChannelPlan(5001, 65536))
    result = answer(chrome(data=True), plan)
    assert result.values("group") == ("BUNDLE 0 1",)
    data = result.media[1]
    assert (data.port, data.value("sctp-port"), data.value("max-message-size")) == (3478, "5001", "65536")
    assert data.value("setup") == "passive"
    assert data.direction is None
    refused = translate(described(PHONE_AUDIO), plan, offer=chrome(data=True))
    assert layout(refused) == [("audio", 3478), ("application", 0)]


def test_data_channels_are_answered_in_the_form_of_their_offer() -> None:
    """Drafts before RFC 8841 named the SCTP port in the m= line, and older browsers still do."""
    old = "m=application 9 DTLS/SCTP 5000|a=sctpmap:5000 webrtc-datachannel 256"
    plan = browser_plan(data_channel=DataChannelPlan(5001, 65536))
    offer = browser(CHROME_AUDIO, old, session="a=group:BUNDLE 0 1")
    data = answer(offer, plan).media[1]
    assert (data.protocol, data.formats) == ("DTLS/SCTP", ("5001",))
    assert (data.value("sctpmap"), data.value("sctp-port")) == ("5001 webrtc-datachannel 1024", None)
    again = translate(offer, replace(plan, previous=answer(offer, plan))).media[1]
    assert (again.protocol, again.formats) == ("DTLS/SCTP", ("5001",))
    assert sctp_port(offer.media[1], 1) == 5000


def test_data_channels_are_offered_to_browsers_that_may_have_them() -> None:
    """Only what is SCTP over DTLS, and only with a certificate."""
    plan = browser_plan(data_channel=DataChannelPlan())
    offer = translate(chrome(data=True), plan)
    assert offer.media[1].value("setup") == "actpass"
    assert offer.values("group") == ("BUNDLE 0 1",)
    odd = browser(CHROME_AUDIO, CHROME_DATA.replace("UDP/DTLS/SCTP", "RTP/AVP"), session="")
    assert layout(translate(odd, plan)) == [("audio", 3478)]
    assert layout(answer(odd, plan)) == [("audio", 3478), ("application", 0)]


def test_real_time_text_keeps_its_redundancy() -> None:
    """RFC 4103: T.140 in red is the norm, also for phones."""
    text = "m=text 4004 RTP/AVP 98 100|a=rtpmap:98 t140/1000|a=rtpmap:100 red/1000|a=fmtp:100 98/98"
    offer = translate(described(PHONE_AUDIO, text), phone_plan(media=("audio", "text")))
    assert codecs(offer, 1) == ["t140", "red"]


# Leaks and size


SECRETS = (
    *("ice", "candidate", "fingerprint", "setup", "extmap", "ssrc", "msid", ".local", "rtcp-fb", "group", "mid:"),
    *("bundle", "rtcp-mux", "rtcp-rsize", "brow", "UDP/TLS", "rtx", "red/", "ulpfec", "apt=", "x-google"),
)


@pytest.mark.parametrize("offer", [chrome(), chrome(video=True, data=True)])
def test_nothing_of_the_browser_leaks_to_the_phone(offer: SessionDescription) -> None:
    """Smaller and private: neither in offers nor in answers."""
    made = [translate(offer, phone_plan()), translate(offer, phone_plan(), offer=described(PHONE_AUDIO, PHONE_VIDEO))]
    for description in made:
        for secret in SECRETS:
            assert secret not in str(description)


def test_every_description_for_a_phone_fits_one_datagram() -> None:
    """Over the whole corpus: under 1200 octets, so that the INVITE is not fragmented."""
    fitted = 0
    for name, description in corpus():
        for kind in ("rtp", "sdes"):
            try:
                made = translate(description, phone_plan(kind))
            except SdpNegotiationError:
                continue
            fitted += 1
            assert len(bytes(made)) <= 1200, name
            for secret in ("ice-", "extmap", "ssrc", "msid", ".local", "rtcp-fb", "apt="):
                assert secret not in str(made), name
    assert fitted > 30


def test_codecs_are_left_out_until_an_offer_fits() -> None:
    """The least liked go first; one always stays."""
    many = "".join(f"|a=rtpmap:{96 + n} codec{n}/8000|a=fmtp:{96 + n} {'p' * 100}" for n in range(30))
    source = described(f"m=audio 4000 RTP/AVP {' '.join(str(96 + n) for n in range(30))}{many}")
    made = translate(source, phone_plan(codecs=CodecPolicy()))
    assert len(str(made)) <= 1200
    assert codecs(made, 0)[0] == "codec0"
    assert 4 < len(codecs(made, 0)) < 30
    tiny = translate(source, phone_plan(size_limit=10, codecs=CodecPolicy()))
    assert codecs(tiny, 0) == ["codec0", "telephone-event"]
    unlimited = translate(source, browser_plan(codecs=CodecPolicy()))
    assert len(codecs(unlimited, 0)) == 31


def test_parameters_too_long_for_a_phone_drop_their_codec() -> None:
    """Nothing a phone needs is that long."""
    source = described(f"m=audio 4000 RTP/AVP 96 0|a=rtpmap:96 opus/48000/2|a=fmtp:96 x={'y' * 500}")
    assert codecs(translate(source, phone_plan(codecs=CodecPolicy())), 0)[0] == "PCMU"


def test_private_addresses_never_pass() -> None:
    """The other side is told our address only."""
    source = described(PHONE_AUDIO, address="192.168.1.50")
    for plan in (phone_plan(), browser_plan()):
        assert "192.168" not in str(translate(source, plan))


def test_bundled_sections_share_the_number_of_a_codec() -> None:
    """RFC 9143 section 10.1.1: the same codec, said the same way; a section never has one number twice."""
    made = translate(described(PHONE_AUDIO, PHONE_AUDIO), browser_plan())
    first, second = (read_codecs(media) for media in made.media)
    assert first == second
    twice = "m=audio 4000 RTP/AVP 0 96 97 98|a=rtpmap:96 pcmu/8000|a=rtpmap:97 opus/48000/2|a=rtpmap:98 opus/48000/2"
    plan = browser_plan(codecs=CodecPolicy(events=False))
    once = translate(described(twice), plan)
    assert [codec.payload_type for codec in read_codecs(once.media[0])] == [0, 97, 98]
    assert translate(described(twice), replace(plan, previous=once)) == once
