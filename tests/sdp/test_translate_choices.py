"""The second choice where the first cannot be used: keys, sections, codecs that only we can turn into others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdp import (
    CodecPolicy,
    SdpNegotiationError,
    SessionDescription,
    TransportPlan,
    answer,
    negotiate,
    pair_media,
    read_codecs,
    translate,
)
from sdp.attributes import Crypto
from tests.sdp.plans import (
    CHROME_AUDIO,
    GATEWAY,
    KEYS,
    OPUS,
    PCMA,
    PCMU,
    PHONE_AUDIO,
    POLICY,
    TRANSCODABLE,
    browser,
    browser_plan,
    chrome,
    described,
    phone_plan,
)

ONE_PORT = (TransportPlan(GATEWAY, 20000, crypto=KEYS),)
UNKNOWN_AUDIO = "m=audio 4002 RTP/AVP 97|a=rtpmap:97 iLBC/8000"
WITHOUT_UNKNOWN = replace(POLICY, only=("opus", "g722", "pcmu", "pcma"))
TWO_CHROME = browser(CHROME_AUDIO, CHROME_AUDIO, session="a=group:BUNDLE 0 1")


def names(description: SessionDescription, index: int = 0) -> list[str]:
    return [codec.rtpmap for codec in read_codecs(description.media[index])]


def with_mki(crypto: Crypto) -> Crypto:
    return replace(crypto, keys=(replace(crypto.keys[0], mki=1, mki_length=4),))


def secured(*cryptos: Crypto) -> SessionDescription:
    offer = described("m=audio 4000 RTP/SAVP 0")
    return offer.with_media([offer.media[0].with_attribute(*cryptos)])


# Keys


def test_a_key_with_an_identifier_is_passed_over() -> None:
    """The first offered that packets could be read with is answered, under its own tag and suite."""
    offered = secured(with_mki(KEYS[0]), KEYS[1])
    for mki in (False, True):
        (transport, *_) = phone_plan("sdes").transports
        made = answer(offered, phone_plan("sdes", transports=(replace(transport, mki=mki),)))
        assert made.media[0].all(Crypto) == (KEYS[1],)


def test_a_key_with_an_identifier_is_better_than_none() -> None:
    """Only where the transport can read such packets; ours carry no identifier, which RFC 4568 section 6.1 allows."""
    offered = secured(with_mki(KEYS[1]))
    (transport, *_) = phone_plan("sdes").transports
    made = answer(offered, phone_plan("sdes", transports=(replace(transport, mki=True),)))
    assert made.media[0].all(Crypto) == (KEYS[1],)
    (audio,) = negotiate(offered, made, local="answerer").media
    assert audio.remote is not None
    assert audio.remote.crypto == with_mki(KEYS[1])
    with pytest.raises(SdpNegotiationError):
        answer(offered, phone_plan("sdes"))


def test_several_keys_of_one_line_are_passed_over() -> None:
    """Which of them a packet has been protected with only an identifier would say."""
    two = replace(KEYS[0], keys=(KEYS[0].keys[0], KEYS[0].keys[0]))
    offered = secured(two, KEYS[1])
    assert answer(offered, phone_plan("sdes")).media[0].all(Crypto) == (KEYS[1],)


def test_an_offered_suite_may_be_in_any_case() -> None:
    """Some phones write it in lower case."""
    lower = str(KEYS[1]).replace("AES_CM_128_HMAC_SHA1_80", "aes_cm_128_hmac_sha1_80")
    made = answer(described(f"m=audio 4000 RTP/SAVP 0|a=crypto:{lower}"), phone_plan("sdes"))
    assert made.media[0].all(Crypto) == (KEYS[1],)


# Sections


def test_an_early_answer_takes_one_section_of_a_kind() -> None:
    """A second audio line has no far end: it is refused, and may be offered again later."""
    plan = browser_plan(of_each_kind=1)
    assert [section.port for section in answer(TWO_CHROME, plan).media] == [3478, 0]
    both = described(PHONE_AUDIO, PHONE_AUDIO)
    assert [section.port for section in translate(both, plan, offer=TWO_CHROME).media] == [3478, 0]
    assert [section.port for section in translate(both, plan).media] == [3478]
    assert [section.port for section in answer(TWO_CHROME, browser_plan()).media] == [3478, 3478]


def test_the_second_audio_line_serves_where_the_first_cannot() -> None:
    """With one port, and nothing the policy allows in the first line: accepted, and offered on, is the second."""
    plan = phone_plan(transports=ONE_PORT, of_each_kind=1, codecs=WITHOUT_UNKNOWN)
    offer_a = described(UNKNOWN_AUDIO, PHONE_AUDIO)
    assert [section.port for section in answer(offer_a, plan).media] == [0, 20000]
    offer_b = translate(offer_a, plan)
    assert [section.port for section in offer_b.media] == [0, 20000]
    answer_b = described("m=audio 0 RTP/AVP 0", "m=audio 5000 RTP/AVP 0")
    answer_a = translate(answer_b, plan, offer=offer_a)
    assert [section.port for section in answer_a.media] == [0, 20000]
    side_a = negotiate(offer_a, answer_a, local="answerer")
    side_b = negotiate(offer_b, answer_b, local="offerer")
    assert [(a.index, b.index) for a, b in pair_media(side_a, side_b)] == [(1, 1)]


def test_a_port_stays_with_the_line_that_has_it() -> None:
    """The first line comes to life later, when the only port is the second's: it is refused, nothing moves."""
    plan = phone_plan(transports=ONE_PORT, codecs=WITHOUT_UNKNOWN)
    first = answer(described(UNKNOWN_AUDIO, PHONE_AUDIO), plan)
    again = answer(described(PHONE_AUDIO, PHONE_AUDIO), replace(plan, previous=first))
    assert [section.port for section in again.media] == [0, 20000]
    offered = translate(described(UNKNOWN_AUDIO, PHONE_AUDIO), plan)
    later = translate(described(PHONE_AUDIO, PHONE_AUDIO), replace(plan, previous=offered))
    assert [section.port for section in later.media] == [0, 20000]


def test_both_lines_of_best_effort_keep_their_port() -> None:
    """The plain line being the one that was agreed does not cost the secure one its transport."""
    plan = phone_plan("best-effort", transports=ONE_PORT)
    first = translate(chrome(), plan)
    assert [section.port for section in first.media] == [20000, 20000]
    refused = first.with_media(
        [first.media[0].with_media_line(replace(first.media[0].media_line, port=0)), first.media[1]]
    )
    again = translate(chrome(), replace(plan, previous=refused))
    assert [section.port for section in again.media] == [20000, 20000]


# Codecs


def test_noise_is_not_offered_beside_voices_that_are_transcoded() -> None:
    """RFC 3389: the browser has Opus alone, so noise at 8000 Hz from the phone would have nowhere to go."""
    opus_alone = browser("m=audio 9 UDP/TLS/RTP/SAVPF 111 13|a=rtpmap:111 opus/48000/2|a=rtpmap:13 CN/8000")
    assert "CN/8000" not in names(translate(opus_alone, phone_plan()))
    assert "CN/8000" in names(translate(chrome(), phone_plan()))


OPUS_ONLY = CodecPolicy(order=("opus",), only=("opus",), offer_also=(OPUS,), made_of=TRANSCODABLE)
PCMU_ONLY = CodecPolicy(order=("pcmu",), only=("pcmu",), offer_also=(PCMU,), made_of=TRANSCODABLE)


def test_what_we_decode_is_not_what_this_side_may_be_told() -> None:
    """Browsers on Opus alone and phones on PCMU alone meet where we transcode, whoever calls."""
    browser_side, phone_side = browser_plan(codecs=OPUS_ONLY), phone_plan(codecs=PCMU_ONLY)
    opus_alone = browser("m=audio 9 UDP/TLS/RTP/SAVPF 111|a=rtpmap:111 opus/48000/2")
    pcmu_alone = described("m=audio 5000 RTP/AVP 0")
    assert names(translate(opus_alone, phone_side))[0] == "PCMU/8000"
    assert names(translate(pcmu_alone, browser_side, offer=opus_alone)) == ["opus/48000/2"]
    assert names(translate(pcmu_alone, browser_side))[0] == "opus/48000/2"
    assert names(translate(opus_alone, phone_side, offer=pcmu_alone)) == ["PCMU/8000"]


def test_nothing_is_promised_that_we_cannot_decode() -> None:
    """G.729 alone stays 488 where it may not pass."""
    policy = replace(PCMU_ONLY, made_of=(OPUS, PCMA))
    with pytest.raises(SdpNegotiationError):
        translate(described("m=audio 4000 RTP/AVP 18"), phone_plan(codecs=policy))


def test_digits_at_another_clock_are_better_than_none() -> None:
    """An Opus caller with telephone-event/8000, as Firefox and many phones offer, keeps its digits."""
    offer = browser("m=audio 9 UDP/TLS/RTP/SAVPF 109 101|a=rtpmap:109 opus/48000/2|a=rtpmap:101 telephone-event/8000")
    made = answer(offer, browser_plan())
    assert names(made) == ["opus/48000/2", "telephone-event/8000"]
    (audio,) = negotiate(offer, made, local="answerer").media
    assert audio.receive_events == {8000: 101}
    through = translate(
        described("m=audio 5000 RTP/AVP 0 101|a=rtpmap:101 telephone-event/8000"), browser_plan(), offer=offer
    )
    assert names(through) == ["opus/48000/2", "telephone-event/8000"]
    assert "telephone-event/8000" not in names(answer(chrome(), browser_plan(codecs=replace(POLICY, only=("opus",)))))
