"""What an offer and its answer agreed on, from either side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdp import (
    Agreement,
    Direction,
    MediaAgreement,
    SdpNegotiationError,
    SessionDescription,
    answer,
    is_private,
    negotiate,
    pair_media,
    restarts_ice,
)
from sdp.attributes import CryptoKey, SetupRole
from tests.rows import by_row
from tests.sdp.plans import CHROME_AUDIO, CHROME_DATA, FINGERPRINT, KEYS, PHONE_AUDIO, browser, described, phone_plan

ANSWER = "m=audio 5000 RTP/AVP 0 96|a=rtpmap:96 telephone-event/8000"


def one(agreement: Agreement) -> MediaAgreement:
    (media,) = agreement.media
    return media


def with_direction(section: str, direction: str | None) -> str:
    return f"{section}|a={direction}" if direction else section


def test_each_side_sends_what_the_other_numbered() -> None:
    """RFC 3264 section 5.1: payload types are those the receiver chose, also where they differ."""
    offer, answer = described(PHONE_AUDIO), described(ANSWER)
    ours, theirs = (one(negotiate(offer, answer, local=side)) for side in ("offerer", "answerer"))
    assert [codec.payload_type for codec in ours.send] == [0, 96]
    assert [codec.payload_type for codec in ours.receive] == [0, 101]
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert (ours.send_events, ours.receive_events) == ({8000: 96}, {8000: 101})


def test_the_order_to_send_in_is_the_remote_sides() -> None:
    """RFC 3264 section 6.1: the first format both have in the other's list is what it likes best."""
    offer, answer = described("m=audio 4000 RTP/AVP 8 0 9"), described("m=audio 5000 RTP/AVP 9 0")
    assert [c.name for c in one(negotiate(offer, answer, local="offerer")).send] == ["G722", "PCMU"]
    assert [c.name for c in one(negotiate(offer, answer, local="answerer")).send] == ["PCMU", "G722"]


@by_row(
    ("offered", "answered", "flows"),
    [
        (None, None, "sendrecv"),
        ("sendrecv", "sendonly", "recvonly"),
        ("sendonly", "recvonly", "sendonly"),
        ("sendonly", "sendrecv", "sendonly"),
        ("recvonly", "sendonly", "recvonly"),
        ("inactive", "inactive", "inactive"),
        ("sendrecv", "inactive", "inactive"),
        ("recvonly", "recvonly", "inactive"),
    ],
)
def test_only_what_both_said_flows(offered: str | None, answered: str | None, flows: str) -> None:
    """RFC 3264 section 6.1, from both sides."""
    offer = described(with_direction(PHONE_AUDIO, offered))
    answer = described(with_direction(ANSWER, answered))
    ours = one(negotiate(offer, answer, local="offerer"))
    theirs = one(negotiate(offer, answer, local="answerer"))
    assert ours.direction == flows
    assert theirs.direction == ours.direction.reversed()


def test_a_direction_is_made_of_two_flows() -> None:
    """Sending and receiving, each there or not."""
    for direction in Direction:
        assert Direction.of(direction.sends, direction.receives) is direction
        assert direction.reversed().reversed() is direction


def test_a_session_level_direction_holds_for_all_sections() -> None:
    """RFC 8866 section 6.7."""
    offer = described(PHONE_AUDIO, session="a=sendonly")
    assert one(negotiate(offer, described(ANSWER), local="answerer")).direction is Direction.RECVONLY


def test_an_address_of_zeros_is_hold_without_ice() -> None:
    """RFC 3264 section 8.4: phones of old hold by c=0.0.0.0; nothing is sent to them."""
    offer = described(PHONE_AUDIO, address="0.0.0.0")
    agreement = one(negotiate(offer, described(ANSWER), local="answerer"))
    assert agreement.direction is Direction.RECVONLY
    assert agreement.held
    assert agreement.remote is not None
    assert agreement.remote.held
    assert agreement.remote.private


def test_an_address_of_zeros_is_no_hold_with_ice() -> None:
    """A trickling browser writes 0.0.0.0 because it has no candidate yet."""
    offer = browser(CHROME_AUDIO)
    answer = browser(CHROME_AUDIO)
    agreement = one(negotiate(offer, answer, local="answerer"))
    assert agreement.direction is Direction.SENDRECV
    assert agreement.remote is not None
    assert not agreement.remote.held
    assert agreement.remote.ice


def test_a_rejected_section_carries_nothing() -> None:
    """RFC 3264 section 6: port 0, by either side."""
    offer, answer = described(PHONE_AUDIO), described("m=audio 0 RTP/AVP 0")
    agreement = negotiate(offer, answer, local="offerer")
    assert not agreement.accepted
    assert agreement.first("audio") is None
    assert one(agreement).remote is None
    assert not one(agreement).held
    assert not negotiate(described("m=audio 0 RTP/AVP 0"), described(ANSWER), local="offerer").accepted


def test_a_section_without_a_common_codec_is_not_accepted() -> None:
    """An answer that names other codecs than the offer carries nothing."""
    agreement = negotiate(described("m=audio 4000 RTP/AVP 18"), described(ANSWER), local="offerer")
    assert not one(agreement).accepted
    video = "m=video 4002 RTP/AVP 96|a=rtpmap:96 ulpfec/90000"
    assert not one(negotiate(described(video), described(video), local="offerer")).accepted


def test_a_section_of_digits_alone_is_accepted() -> None:
    """RFC 4317 section 2.5: a second audio section for telephone-event."""
    digits = "m=audio 4002 RTP/AVP 98|a=rtpmap:98 telephone-event/8000"
    agreement = negotiate(described(digits + "|a=sendonly"), described(digits + "|a=recvonly"), local="answerer")
    assert one(agreement).accepted
    assert one(agreement).receive_events == {8000: 98}


@by_row(
    ("offer", "answer"),
    [
        (described(PHONE_AUDIO), described()),
        (described(PHONE_AUDIO), described("m=video 5000 RTP/AVP 31")),
        (
            described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]}"),
            described(f"m=audio 4 RTP/SAVP 0|a=crypto:{KEYS[1]}"),
        ),
        (
            described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]}"),
            described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{str(KEYS[1]).replace('2', '1', 1)}"),
        ),
    ],
)
def test_an_answer_that_was_not_offered_is_refused(offer: SessionDescription, answer: SessionDescription) -> None:
    """No section, another kind or another key than offered leave the meaning open."""
    with pytest.raises(SdpNegotiationError) as caught:
        negotiate(offer, answer, local="offerer")
    assert caught.value.status == 488
    assert "inline" not in str(caught.value)


@by_row(
    ("offer", "answer"),
    [
        (described(PHONE_AUDIO), described(ANSWER, ANSWER)),
        (browser(CHROME_AUDIO), browser(CHROME_AUDIO + "|a=mid:7", session="")),
        (browser(CHROME_AUDIO, session=""), browser(CHROME_AUDIO)),
        (browser(CHROME_AUDIO), browser(CHROME_AUDIO, session="a=group:BUNDLE 0 9")),
    ],
)
def test_what_an_answer_says_beside_the_offer_is_passed_over(
    offer: SessionDescription, answer: SessionDescription
) -> None:
    """Sections, mids and groups that nobody offered end no call (RFC 3264 section 6: sections meet by place)."""
    agreement = negotiate(offer, answer, local="offerer")
    assert len(agreement.media) == len(offer.media)
    assert one(agreement).accepted
    assert one(agreement).bundle is None


@by_row("line", ["a=ptime:x", "a=ptime:", "a=maxptime:", "b=CT:", "b=AS:64.5", "a=rtcp:70000", "a=setup:x"])
def test_a_malformed_line_counts_as_absent(line: str) -> None:
    """What an agreement does not need cannot spoil it."""
    expected = negotiate(described(PHONE_AUDIO), described(ANSWER), local="offerer")
    assert negotiate(described(PHONE_AUDIO), described(f"{ANSWER}|{line}"), local="offerer") == expected


@by_row(
    ("lines", "wanted"),
    [
        (["1 AES_CM_128_HMAC_SHA1_80 inline:#", KEYS[1]], 1),
        ([str(KEYS[0])[:-8], KEYS[1]], 1),
        (["", KEYS[1]], 1),
        ([f"{KEYS[0]} UNENCRYPTED_SRTCP", KEYS[1]], 1),
        ([f"{KEYS[0]} -X=1"], 0),
        ([f"{KEYS[0]} WSH=64 FEC_ORDER=FEC_SRTP"], 0),
        ([f"{KEYS[0]} WSH=x FEC_ORDER=SRTP_FEC"], 0),
        ([f"{KEYS[0]} KDR=1", KEYS[1]], 1),
    ],
)
def test_each_key_is_judged_by_itself(lines: list[str], wanted: int) -> None:
    """An unreadable or unusable a=crypto line leaves the others as they are (RFC 4568 section 6.3)."""
    audio = "m=audio 4000 RTP/SAVP 0"
    offer = described("|".join([audio, *[f"a=crypto:{line}" for line in lines]]))
    made = answer(offer, phone_plan("sdes"))
    agreement = one(negotiate(offer, made, local="answerer"))
    assert agreement.remote is not None
    assert agreement.remote.crypto is not None
    assert agreement.remote.crypto.keys == KEYS[wanted].keys
    ours = described("|".join([audio, *[f"a=crypto:{key}" for key in KEYS]]))
    answered = negotiate(ours, offer, local="offerer")
    assert one(answered).crypto_local == KEYS[wanted]


def test_a_codec_may_come_under_the_peers_own_number() -> None:
    """Some peers send by the number of their answer, not by that of the offer (RFC 3264 section 5.1)."""
    offer = described("m=audio 4000 RTP/AVP 111 101|a=rtpmap:111 opus/48000/2|a=rtpmap:101 telephone-event/8000")
    said = described("m=audio 5000 RTP/AVP 120 101|a=rtpmap:120 opus/48000/2|a=rtpmap:101 telephone-event/8000")
    agreement = one(negotiate(offer, said, local="offerer"))
    assert [codec.payload_type for codec in agreement.receive] == [111, 101]
    assert [(codec.name, codec.payload_type) for codec in agreement.receive_also] == [("opus", 120)]
    refused = described("m=audio 4000 RTP/AVP 111 120|a=rtpmap:111 opus/48000/2|a=rtpmap:120 iLBC/8000")
    assert [codec.name for codec in one(negotiate(refused, said, local="offerer")).receive_also] == ["opus"]
    both = described("m=audio 5000 RTP/AVP 120 97|a=rtpmap:120 opus/48000/2|a=rtpmap:97 iLBC/8000")
    assert [codec.payload_type for codec in one(negotiate(refused, both, local="offerer")).receive_also] == [97]


def test_numbers_of_events_may_be_contested_by_audio() -> None:
    """Their own numbers, once taken, come before ours, which stay where they mean nothing else."""
    offer = described("m=audio 4000 RTP/AVP 111 96|a=rtpmap:111 opus/48000/2|a=rtpmap:96 telephone-event/8000")
    said = described("m=audio 5000 RTP/AVP 96 101|a=rtpmap:96 opus/48000/2|a=rtpmap:101 telephone-event/8000")
    agreement = one(negotiate(offer, said, local="offerer"))
    assert set(agreement.contested) == {96}
    assert [(codec.name, codec.payload_type) for codec in agreement.arriving] == [
        ("opus", 111),
        ("telephone-event", 96),
        ("telephone-event", 101),
    ]
    turned = agreement.settled(theirs=True)
    assert not turned.contested
    assert turned.receive_events == {8000: 101}
    assert [(codec.name, codec.payload_type) for codec in turned.arriving] == [
        ("opus", 96),
        ("telephone-event", 101),
        ("opus", 111),
    ]


def test_numbers_of_two_codecs_may_be_contested() -> None:
    """Until settled our numbers count, and digits where the remote side has them under one; then its own, or ours."""
    maps = "|a=rtpmap:8 PCMA/8000|a=rtpmap:101 telephone-event/8000"
    offer = described("m=audio 4000 RTP/AVP 111 8 101|a=rtpmap:111 opus/48000/2" + maps)
    crossed = "|a=rtpmap:111 PCMA/8000|a=rtpmap:8 telephone-event/8000|a=rtpmap:101 opus/48000/2"
    agreement = one(negotiate(offer, described("m=audio 5000 RTP/AVP 101 111 8" + crossed), local="offerer"))
    pairs = {number: (ours.name, theirs.name) for number, (ours, theirs) in agreement.contested.items()}
    assert pairs == {
        111: ("opus", "PCMA"),
        8: ("PCMA", "telephone-event"),
        101: ("telephone-event", "opus"),
    }
    named = [(codec.name, codec.payload_type) for codec in agreement.arriving]
    assert named == [("opus", 111), ("telephone-event", 8), ("telephone-event", 101)]
    for theirs, codecs in ((True, agreement.send), (False, agreement.receive)):
        settled = agreement.settled(theirs=theirs)
        assert not settled.contested
        assert settled.arriving == codecs


def test_an_answer_may_leave_the_mid_out() -> None:
    """Phones that do not know a=mid answer in order, and that is enough."""
    offer = described(PHONE_AUDIO + "|a=mid:audio")
    assert one(negotiate(offer, described(ANSWER), local="offerer")).mid == "audio"
    assert one(negotiate(described(PHONE_AUDIO), described(ANSWER + "|a=mid:x"), local="offerer")).mid is None


@by_row(
    ("offered", "answered", "answerer"),
    [
        ("actpass", "active", "active"),
        ("actpass", "passive", "passive"),
        ("active", None, "passive"),
        ("passive", None, "active"),
        ("actpass", "actpass", "active"),
        (None, None, "active"),
    ],
)
def test_the_answer_decides_the_dtls_role(offered: str | None, answered: str | None, answerer: str) -> None:
    """RFC 5763 section 5; what an answer leaves out, or may not say, follows from the offer."""

    def section(role: str | None) -> str:
        setup = f"|a=setup:{role}" if role else ""
        return f"m=audio 9 UDP/TLS/RTP/SAVP 0|a=fingerprint:{FINGERPRINT}{setup}"

    offer, answer = described(section(offered)), described(section(answered))
    assert one(negotiate(offer, answer, local="answerer")).dtls_role == answerer
    other = {"active": "passive", "passive": "active"}[answerer]
    assert one(negotiate(offer, answer, local="offerer")).dtls_role == other


def test_there_is_no_dtls_role_without_fingerprint() -> None:
    """Plain RTP has none."""
    assert one(negotiate(described(PHONE_AUDIO), described(ANSWER), local="offerer")).dtls_role is None


def test_the_answered_tag_chooses_the_keys() -> None:
    """RFC 4568 section 5.1.3: each side protects with the key it wrote itself."""
    offer = described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]}|a=crypto:{KEYS[1]}")
    theirs = replace(KEYS[1], keys=(CryptoKey(bytes(30)),))
    answer = described(f"m=audio 5000 RTP/SAVP 0|a=crypto:{theirs}")
    agreement = one(negotiate(offer, answer, local="offerer"))
    assert agreement.crypto_local == KEYS[1]
    assert agreement.remote is not None
    assert agreement.remote.crypto == theirs
    reverse = one(negotiate(offer, answer, local="answerer"))
    assert reverse.crypto_local == agreement.remote.crypto
    assert reverse.remote is not None
    assert reverse.remote.crypto == KEYS[1]


def test_bundled_sections_share_the_first_ones_transport() -> None:
    """RFC 9143 section 7.3.1: the tagged section's address, ICE and fingerprint count for all."""
    session = "a=group:BUNDLE 0 1"
    offer = browser(CHROME_AUDIO, CHROME_DATA, session=session)
    answer = browser(CHROME_AUDIO, CHROME_DATA.replace("m=application 9", "m=application 7777"), session=session)
    audio, data = negotiate(offer, answer, local="offerer").media
    assert (audio.bundle, data.bundle) == (None, 0)
    assert audio.remote is not None
    assert data.remote is not None
    assert data.remote.port == audio.remote.port
    assert data.accepted
    assert data.send == ()


def test_bundle_refused_leaves_each_section_its_own_transport() -> None:
    """An answer without the group bundles nothing."""
    offer = browser(CHROME_AUDIO, CHROME_DATA, session="a=group:BUNDLE 0 1")
    answer = browser(
        CHROME_AUDIO, CHROME_DATA.replace("m=application 9", "m=application 7777"), session="a=group:LS 0 1"
    )
    _, data = negotiate(offer, answer, local="offerer").media
    assert data.bundle is None
    assert data.remote is not None
    assert data.remote.port == 7777


def test_a_bundle_only_section_has_no_port_of_its_own() -> None:
    """RFC 9143 section 6: port 0 with a=bundle-only is no refusal once it is bundled."""
    second = CHROME_AUDIO.replace("m=audio 9", "m=audio 0") + "|a=bundle-only"
    offer = browser(CHROME_AUDIO, second, session="a=group:BUNDLE 0 1")
    answer = browser(CHROME_AUDIO, CHROME_AUDIO, session="a=group:BUNDLE 0 1")
    assert [media.accepted for media in negotiate(offer, answer, local="answerer").media] == [True, True]
    alone = browser(CHROME_AUDIO, CHROME_AUDIO, session="a=group:BUNDLE 0")
    assert [media.accepted for media in negotiate(offer, alone, local="answerer").media] == [True, False]


@by_row(
    ("lines", "mux", "port", "address"),
    [
        ("", False, 5001, "203.0.113.9"),
        ("|a=rtcp:6001", False, 6001, "203.0.113.9"),
        ("|a=rtcp:6001 IN IP4 192.0.2.7", False, 6001, "192.0.2.7"),
        ("|a=rtcp-mux|a=rtcp:6001", True, 5000, "203.0.113.9"),
    ],
)
def test_rtcp_goes_where_the_answer_says(lines: str, mux: bool, port: int, address: str) -> None:
    """RFC 3605 and RFC 5761: the next port, another, or the same."""
    offer = described(PHONE_AUDIO + "|a=rtcp-mux")
    remote = one(negotiate(offer, described(ANSWER + lines), local="offerer")).remote
    assert remote is not None
    assert (remote.rtcp_mux, remote.rtcp_port, remote.rtcp_address) == (mux, port, address)


def test_rtcp_mux_needs_both_sides() -> None:
    """An answerer that says it unasked is not believed."""
    remote = one(negotiate(described(PHONE_AUDIO), described(ANSWER + "|a=rtcp-mux"), local="offerer")).remote
    assert remote is not None
    assert not remote.rtcp_mux


def test_there_is_no_port_above_the_last() -> None:
    """RTP on 65535 leaves none for RTCP."""
    remote = one(negotiate(described(PHONE_AUDIO), described("m=audio 65535 RTP/AVP 0"), local="offerer")).remote
    assert remote is not None
    assert remote.rtcp_port == 0


def test_what_the_remote_side_wants_is_told() -> None:
    """Packet times and bandwidth are the receiver's wishes."""
    answer = described(f"{ANSWER}|b=AS:80|a=ptime:30|a=maxptime:60", session="b=AS:512")
    media = one(negotiate(described(PHONE_AUDIO), answer, local="offerer"))
    assert (media.ptime, media.maxptime) == (30, 60)
    assert [str(bandwidth) for bandwidth in media.bandwidths] == ["AS:80"]
    theirs = one(negotiate(described(PHONE_AUDIO), answer, local="answerer"))
    assert (theirs.ptime, theirs.maxptime, theirs.bandwidths) == (20, None, ())


def test_ice_and_dtls_of_the_session_level_hold_for_sections() -> None:
    """RFC 8839 section 4.2.1.2 and RFC 8122: both may stand above the sections."""
    session = f"a=ice-ufrag:u123|a=ice-pwd:{'p' * 22}|a=ice-options:trickle ice2|a=fingerprint:{FINGERPRINT}|a=ice-lite"
    section = (
        "m=audio 9 UDP/TLS/RTP/SAVPF 0|a=setup:actpass|a=end-of-candidates|a=candidate:1 1 udp 1 192.0.2.1 9 typ host"
    )
    description = described(section, session=session)
    remote = one(negotiate(description, description, local="answerer")).remote
    assert remote is not None
    assert (remote.ice_ufrag, remote.ice_pwd, remote.ice_options) == ("u123", "p" * 22, ("trickle", "ice2"))
    assert remote.ice_lite
    assert remote.end_of_candidates
    assert remote.candidates == ("candidate:1 1 udp 1 192.0.2.1 9 typ host",)
    assert remote.fingerprints == (FINGERPRINT,)
    assert remote.setup is SetupRole.ACTPASS
    assert "p" * 22 not in repr(remote)


def test_new_credentials_restart_ice() -> None:
    """RFC 8839 section 4.4.3.1.1."""
    first = one(negotiate(browser(CHROME_AUDIO), browser(CHROME_AUDIO), local="answerer")).remote
    again = SessionDescription.parse(str(browser(CHROME_AUDIO)).replace("a=ice-ufrag:brow", "a=ice-ufrag:new1"))
    second = one(negotiate(again, browser(CHROME_AUDIO), local="answerer")).remote
    plain = one(negotiate(described(PHONE_AUDIO), described(ANSWER), local="answerer")).remote
    assert first is not None
    assert second is not None
    assert plain is not None
    assert restarts_ice(first, second)
    assert not restarts_ice(first, first)
    assert not restarts_ice(first, plain)


@by_row(
    ("address", "private"),
    [
        ("8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("::ffff:8.8.8.8", False),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("224.0.0.1", True),
        ("0.0.0.0", True),
        ("fe80::1", True),
        ("fd00::1", True),
        ("::", True),
        ("0b51e5e4-8b3a-4a5e-b0a1-6a0d3a6f2b11.local", True),
        ("host.example.com", True),
        ("", True),
    ],
)
def test_addresses_that_cannot_be_sent_to_are_marked_for_latching(address: str, private: bool) -> None:
    """Private addresses in SDP are the first cause of one-way audio."""
    assert is_private(address) is private


def test_a_section_without_address_is_private() -> None:
    """A missing c= line is a reason to latch, not to fail."""
    text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"
    remote = one(negotiate(described(PHONE_AUDIO), SessionDescription.parse(text), local="offerer")).remote
    assert remote is not None
    assert (remote.address, remote.private, remote.held) == ("", True, False)


def test_sections_of_two_sides_are_paired_by_kind_and_order() -> None:
    """The relay connects the first audio with the first audio, whatever stands between."""
    audio, video = "m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 31"
    first = negotiate(described(video, audio, audio), described(video, audio, audio), local="answerer")
    second = negotiate(described(audio, audio), described("m=audio 0 RTP/AVP 0", audio), local="offerer")
    assert [(a.index, b.index) for a, b in pair_media(first, second)] == [(2, 1)]


def test_alternatives_are_paired_as_one() -> None:
    """Best-effort SRTP offers one stream twice."""
    secure = f"m=audio 4000 RTP/SAVP 0|a=crypto:{KEYS[0]}"
    offer = described(secure, "m=audio 4000 RTP/AVP 0")
    phone = negotiate(offer, described("m=audio 0 RTP/SAVP 0", "m=audio 5000 RTP/AVP 0"), local="answerer")
    other = negotiate(described(PHONE_AUDIO), described(ANSWER), local="offerer")
    assert [(a.index, b.index) for a, b in pair_media(phone, other)] == [(1, 0)]
