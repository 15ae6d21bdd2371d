"""Which codecs a translated description names, and under which payload types."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdp import (
    CodecPolicy,
    MediaDescription,
    SdpNegotiationError,
    SessionDescription,
    answer,
    read_codecs,
    translate,
)
from tests.sdp.plans import (
    PHONE_AUDIO,
    POLICY,
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


def test_payload_types_stay_what_they_were() -> None:
    """RFC 3264 section 8.3.2: a number never changes its meaning, whatever the other side now calls it."""
    plan = phone_plan()
    first = translate(chrome(), plan)
    renumbered = SessionDescription.parse(str(chrome()).replace("111", "96").replace("110", "109"))
    second = translate(renumbered, replace(plan, previous=first))
    assert numbers(second)["opus/48000/2"] == 111
    assert numbers(second)["telephone-event/48000"] == 110
    assert second == first


def test_clashing_payload_types_are_given_out_anew() -> None:
    """A new codec under an old codec's number gets another."""
    plan = phone_plan()
    first = translate(described("m=audio 4000 RTP/AVP 96|a=rtpmap:96 iLBC/8000"), plan)
    source = described(
        "m=audio 4000 RTP/AVP 96 97 98|a=rtpmap:96 speex/8000|a=rtpmap:97 iLBC/8000|a=rtpmap:98 speex/16000"
    )
    second = translate(source, replace(plan, previous=first))
    assert numbers(second)["iLBC/8000"] == 96
    assert numbers(second)["speex/8000"] not in (96, 97, None)
    assert len(set(numbers(second).values())) == len(names(second))


def test_an_added_codec_takes_a_free_number() -> None:
    """Opus added to a phone's offer does not take the digits' number."""
    offer = translate(described("m=audio 4000 RTP/AVP 0 96|a=rtpmap:96 telephone-event/8000"), browser_plan())
    assert numbers(offer)["telephone-event/8000"] == 96
    assert numbers(offer)["opus/48000/2"] == 97


def test_a_static_number_with_another_meaning_is_not_taken_over() -> None:
    """rtpmap:0 may legally say opus; our offer gives it a dynamic number."""
    offer = translate(described("m=audio 4000 RTP/AVP 0|a=rtpmap:0 opus/48000/2"), phone_plan())
    assert numbers(offer)["opus/48000/2"] not in (0, None)
    assert numbers(offer)["PCMU/8000"] == 0


def test_codecs_beyond_the_last_free_number_are_left_out() -> None:
    """There are 61 dynamic payload types."""
    formats = [number for number in range(128) if not 64 <= number < 96]
    maps = "".join(f"|a=rtpmap:{number} codec{number}/8000" for number in formats)
    offer = translate(
        described(f"m=audio 4000 RTP/AVP {' '.join(map(str, formats))}{maps}"), browser_plan(codecs=CodecPolicy())
    )
    given = [codec.payload_type for codec in read_codecs(audio(offer))]
    assert len(given) == len(set(given)) == 61


def test_digits_are_offered_at_each_codecs_clock_rate() -> None:
    """RFC 4733 section 2.1: the event's clock is the audio's, and events of codecs that are not there go."""
    offer = translate(described("m=audio 4000 RTP/AVP 0 97|a=rtpmap:97 telephone-event/16000"), phone_plan())
    events = [name for name in names(offer) if "event" in name]
    assert sorted(events) == ["telephone-event/48000", "telephone-event/8000"]
    mute = translate(described("m=audio 4000 RTP/AVP 0"), phone_plan(codecs=CodecPolicy(events=False)))
    assert names(mute) == ["PCMU/8000"]
    dropped = translate(described(PHONE_AUDIO), phone_plan(codecs=CodecPolicy(drop=("telephone-event",))))
    assert names(dropped) == ["PCMA/8000", "PCMU/8000"]


def test_digits_are_answered_where_the_other_side_or_we_take_them() -> None:
    """Policy `events` off: the phone must have them."""
    plan = browser_plan(codecs=replace(POLICY, events=False))
    without = translate(described("m=audio 5000 RTP/AVP 0"), plan, offer=chrome())
    assert names(without) == ["PCMU/8000"]
    assert "telephone-event/8000" in names(translate(described(PCMU_ANSWER), plan, offer=chrome()))


def test_a_section_of_digits_alone_passes() -> None:
    """RFC 4317 section 2.5: a second stream that only carries telephone-event."""
    digits = "m=audio 4002 RTP/AVP 98|a=rtpmap:98 telephone-event/8000|a=sendonly"
    offer = described(PHONE_AUDIO, digits)
    passed = translate(offer, phone_plan())
    assert [codec.rtpmap for codec in read_codecs(passed.media[1])] == ["telephone-event/8000"]
    result = translate(answer(passed, phone_plan()), phone_plan(), offer=offer)
    assert [section.port for section in result.media] == [20000, 20002]
    assert result.media[1].direction == "recvonly"


@pytest.mark.parametrize("policy", [CodecPolicy(only=("g729",)), CodecPolicy(drop=("pcmu", "pcma", "g722", "opus"))])
def test_digits_alone_are_no_call_where_the_policy_takes_the_voice_away(policy: CodecPolicy) -> None:
    """Neither an answer nor an offer keeps a section for telephone-event when its codecs are not wanted."""
    offer = described(PHONE_AUDIO)
    with pytest.raises(SdpNegotiationError):
        answer(offer, phone_plan(codecs=policy))
    with pytest.raises(SdpNegotiationError):
        translate(offer, phone_plan(codecs=policy))


def test_noise_passes_where_both_have_it() -> None:
    """RFC 3389: comfort noise is no codec, but it may be forwarded."""
    with_noise = translate(described("m=audio 5000 RTP/AVP 0 13"), browser_plan(), offer=chrome())
    assert "CN/8000" in names(with_noise)
    assert "CN/8000" not in names(translate(described("m=audio 5000 RTP/AVP 0"), browser_plan(), offer=chrome()))


def test_only_and_drop_narrow_what_is_said() -> None:
    """The configuration's codec list is a policy."""
    only = phone_plan(codecs=replace(POLICY, only=("pcma",)))
    assert names(translate(chrome(), only)) == ["PCMA/8000", "CN/8000", "telephone-event/8000"]
    drop = phone_plan(codecs=replace(POLICY, drop=("opus", "g722", "cn")))
    assert names(translate(chrome(), drop)) == ["PCMU/8000", "PCMA/8000", "telephone-event/8000"]


def test_two_codecs_of_the_other_side_may_meet_in_one() -> None:
    """The same codec answered under two numbers is one codec of the offer."""
    twice = described("m=audio 5000 RTP/AVP 96 97|a=rtpmap:96 opus/48000/2|a=rtpmap:97 opus/48000/2")
    assert names(translate(twice, browser_plan(), offer=chrome())) == ["opus/48000/2", "telephone-event/48000"]


def test_redundancy_passes_between_browsers_only() -> None:
    """RFC 2198 red around Opus, renumbered with it."""
    offer = translate(chrome(), browser_plan())
    assert "red/48000/2" in names(offer)
    accepted = translate(offer, browser_plan(), offer=chrome())
    assert "red/48000/2" in names(accepted)
    moved = SessionDescription.parse(str(chrome()).replace("111/111", "96/96").replace("111", "96"))
    red = next(c for c in read_codecs(audio(translate(moved, browser_plan(previous=offer)))) if c.name == "red")
    assert red.fmtp == "111/111"
    no_opus = browser_plan(codecs=CodecPolicy(drop=("opus",)))
    assert "red/48000/2" not in names(translate(chrome(), no_opus))
