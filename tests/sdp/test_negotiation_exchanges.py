"""The published exchanges: RFC 4317 in order, and RFC 8829's."""

from __future__ import annotations

from dataclasses import replace

from sdp import MediaAgreement, SdpNegotiationError, SessionDescription, answer, negotiate, translate
from tests.cases import cases
from tests.rows import by_row
from tests.sdp.plans import DESCRIPTIONS, browser_plan, phone_plan

PUBLISHED = cases("sdp/rfc4317.txt")
RFC4317 = {
    2: "audio PCMU:0 sendrecv; video MPV:32 sendrecv",
    4: "audio PCMU:0 PCMA:8 sendrecv; video rejected",
    6: "audio PCMU:0 sendrecv; video rejected",
    8: "audio iLBC:99/97 sendrecv; video H261:31 sendrecv",
    10: "audio iLBC:97 sendrecv; audio telephone-event:98 sendonly",
    12: "audio iLBC:97 sendrecv; video H261:31 sendrecv",
    14: "audio iLBC:97 sendrecv; video H261:31 sendrecv",
    16: "audio rejected; audio iLBC:97 telephone-event:101 sendrecv",
    18: "audio iLBC:99 sendrecv; video H261:31 sendrecv",
    20: "audio iLBC:99 sendrecv; video H261:31 MPV:32 sendrecv",
    22: "audio PCMU:0 sendrecv; video MPV:32 sendrecv",
    24: "audio iLBC:97 recvonly",
    26: "audio iLBC:97 sendrecv",
    28: "audio iLBC:97 sendrecv; audio telephone-event:98 sendonly",
    30: "audio iLBC:97 sendonly; audio telephone-event:98 recvonly",
    32: "audio iLBC:97 sendrecv",
    34: "audio iLBC:97 sendrecv; audio telephone-event:98 recvonly",
    36: "audio PCMU:0 sendrecv",
    38: "audio PCMU:0 sendrecv; video H261:31 sendrecv",
    40: "audio iLBC:97 sendrecv; video H261:31 sendrecv",
    42: "audio iLBC:97 sendrecv; video rejected",
    44: "",
    46: "audio iLBC:97 sendrecv",
    48: "audio iLBC:97 sendonly",
    50: "audio iLBC:97 sendrecv",
    52: "audio iLBC:97 recvonly",
    54: "audio iLBC:97 sendrecv",
}
"""Each offer's number, and what the offerer has with the next description as its answer (send/receive numbers)."""


def exchange(number: int) -> tuple[SessionDescription, SessionDescription]:
    offer, answered = (PUBLISHED[str(each)] for each in (number, number + 1))
    return SessionDescription.parse(offer), SessionDescription.parse(answered)


def own(name: str) -> SessionDescription:
    return SessionDescription.parse((DESCRIPTIONS / f"{name}.sdp").read_bytes())


def told(media: MediaAgreement) -> str:
    """The agreement in the notation of the table."""
    if not media.accepted:
        return f"{media.kind} rejected"
    codecs = []
    for ours, theirs in zip(media.receive, media.send, strict=True):
        numbers = (theirs.payload_type, ours.payload_type)
        codecs.append(f"{theirs.name}:{numbers[0]}" + (f"/{numbers[1]}" if numbers[0] != numbers[1] else ""))
    return " ".join([media.kind, *codecs, media.direction])


@by_row("number", RFC4317)
def test_rfc_4317_means_what_it_says(number: int) -> None:
    """Every exchange of the RFC, from both sides."""
    offer, answered = exchange(number)
    ours = negotiate(offer, answered, local="offerer")
    assert "; ".join(map(told, ours.media)) == RFC4317[number]
    theirs = negotiate(offer, answered, local="answerer")
    assert [media.direction for media in theirs.media] == [
        media.direction.reversed() if media.accepted else media.direction for media in ours.media
    ]


@by_row("number", [number for number in RFC4317 if number != 44])
def test_rfc_4317_passes_through_the_gateway(number: int) -> None:
    """Offer and answer through us to another phone: what both agreed before they agree on now."""
    offer, answered = exchange(number)
    plan_a, plan_b = phone_plan(), phone_plan()
    offer_b = translate(offer, plan_b)
    assert [media.kind for media in offer_b.media] == [media.kind for media in offer.media if media.port]
    answer_a = translate(answered, plan_a, offer=offer)
    direct = negotiate(offer, answered, local="offerer")
    through = negotiate(offer, answer_a, local="offerer")
    for before, now in zip(direct.media, through.media, strict=True):
        assert now.accepted == before.accepted
        kept = {codec.key for codec in now.send}
        assert {codec.key for codec in before.send if codec.is_media} <= kept
        held = before.remote is not None and before.remote.held
        if before.accepted and not held:
            assert now.direction == before.direction


@by_row(("first", "second"), [(4, 6), (12, 14), (18, 20), (24, 26), (28, 30), (32, 34), (36, 38), (40, 42)])
def test_rfc_4317_later_exchanges_keep_what_was_said(first: int, second: int) -> None:
    """Across two exchanges our side keeps o= but for its version, the m= lines and the payload types."""
    offer, answered = exchange(first)
    later_offer, later_answer = exchange(second)
    before = translate(offer, phone_plan())
    same_side = later_offer.field_values("o")[0].split()[0] == offer.field_values("o")[0].split()[0]
    source = later_offer if same_side else later_answer
    again = translate(source, phone_plan(previous=before))
    assert len(again.media) >= len(before.media)
    old, new = (description.field_values("o")[0].split() for description in (before, again))
    assert new[:2] == old[:2]
    assert int(new[2]) == int(old[2]) + (str(before).replace(old[2], "") != str(again).replace(new[2], ""))
    assert answered.media


def test_rfc_8829_simple_exchange() -> None:
    """Section 7.1: one bundle, bundle-only video, the transport in the first section."""
    offer, answered = own("rfc8829-simple-offer"), own("rfc8829-simple-answer")
    audio, video = negotiate(offer, answered, local="offerer").media
    assert [codec.name for codec in audio.send] == ["opus", "PCMU", "PCMA", "telephone-event", "telephone-event"]
    assert (audio.send_events, audio.maxptime) == ({8000: 97, 48000: 98}, 120)
    assert [codec.payload_type for codec in video.send] == [100, 101, 102, 103]
    assert (audio.dtls_role, video.dtls_role) == ("passive", "passive")
    assert (audio.bundle, video.bundle) == (None, 0)
    assert audio.remote is not None
    assert video.remote is not None
    assert video.remote.ice_ufrag == audio.remote.ice_ufrag == "6sFv"
    assert video.remote.rtcp_mux
    reverse = negotiate(offer, answered, local="answerer")
    assert {media.dtls_role for media in reverse.media} == {"active"}


def test_rfc_8829_roles_hold_for_the_whole_bundle() -> None:
    """An answer whose other sections repeat no transport attributes gives them the first one's role."""
    offer = own("rfc8829-simple-offer")
    text = str(own("rfc8829-simple-answer")).replace("a=setup:active", "a=setup:passive")
    assert text.count("a=setup") == 1
    agreement = negotiate(offer, SessionDescription.parse(text), local="offerer")
    assert {media.dtls_role for media in agreement.media} == {"active"}
    active = SessionDescription.parse(str(offer).replace("a=setup:actpass", "a=setup:passive"))
    made = translate(own("rfc8829-simple-answer"), browser_plan(), offer=active)
    assert [media.value("setup") for media in made.media] == ["active", "active"]


def test_rfc_8829_warm_up_receives_only() -> None:
    """Section 7.3: an early answer that does not send yet."""
    offer = own("rfc8829-simple-offer")
    single = offer.with_media(offer.media[:1]).replace_attribute("group:BUNDLE a1")
    agreement = negotiate(single, own("rfc8829-warmup-answer"), local="offerer")
    assert [media.direction for media in agreement.media] == ["sendonly"]


def test_rfc_8829_data_channel_is_added_to_the_bundle() -> None:
    """Section 7.2: refused by us with its mid kept, out of the group."""
    offer = own("rfc8829-datachannel-offer")
    first = answer(own("rfc8829-simple-offer"), browser_plan())
    again = answer(offer, browser_plan(previous=first))
    data = next(media for media in again.media if media.kind == "application")
    assert data.port == 0
    assert data.value("mid") not in again.values("group")[0].split()
    assert again.media[0].value("mid") == "a1"


def test_own_answers_negotiate_with_their_offers() -> None:
    """Every description of ours as an offer: the answer we make is one that we can read."""
    made = 0
    for path in sorted(DESCRIPTIONS.glob("*.sdp")):
        offer = SessionDescription.parse(path.read_bytes())
        for plan in (browser_plan(), phone_plan(), phone_plan("sdes"), phone_plan("dtls")):
            try:
                answered = answer(offer, replace(plan, previous=None))
            except SdpNegotiationError:
                continue
            agreement = negotiate(offer, answered, local="answerer")
            assert [media.accepted for media in agreement.media] == [bool(media.port) for media in answered.media]
            made += 1
    assert made > 30
