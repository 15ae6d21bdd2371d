"""Example 4: read session descriptions, answer an offer, and see what both sides agreed on."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from offers import ALICE, agreed, show

import sdp
from sdp.attributes import Ptime


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    print(f"  ok: {words}")


def reading() -> sdp.SessionDescription:
    """Text to values: nothing is lost, known lines have types."""
    print("1. Reading")
    offer = sdp.SessionDescription.parse(ALICE)
    audio, video = offer.media
    check((offer.name, offer.origin.username if offer.origin else "") == ("Lunch", "alice"), "o= and s= are fields")
    check([(m.kind, m.port) for m in offer.media] == [("audio", 49170), ("video", 51372)], "two media sections")
    codecs = sdp.read_codecs(audio)
    for codec in codecs:
        print(f"  {codec.payload_type}: {codec.rtpmap} {codec.fmtp}".rstrip())
    check([c.name for c in codecs] == ["G722", "PCMA", "PCMU", "telephone-event"], "codecs in Alice's order")
    check(offer.direction_of(audio) is sdp.Direction.SENDRECV, "no direction means sendrecv")
    check(offer.direction_of(video) is sdp.Direction.SENDONLY, "the video is one way")
    check(audio.first(Ptime) == Ptime.parse("20"), "a=ptime has a typed view")
    check("a=x-mood:curious" in audio.lines, "a line that nobody knows is kept")
    check(str(offer) == ALICE.replace("\n", "\r\n"), "written again it is the same, with CRLF")
    return offer


def from_scratch() -> None:
    """A description made of values, as a phone makes its first offer."""
    print("2. Writing")
    audio = sdp.MediaDescription.build("audio", 4000, "RTP/AVP", (0,), attributes=["rtpmap:0 PCMU/8000", "ptime:20"])
    origin, connection = sdp.Origin("carol", "7", 1, "192.0.2.9"), sdp.Connection("192.0.2.9")
    offer = sdp.SessionDescription.build(origin, [audio], connection=connection)
    show(offer)
    check(sdp.SessionDescription.parse(str(offer)) == offer, "a description from scratch, and it can be read")


def answering(offer: sdp.SessionDescription) -> sdp.SessionDescription:
    """Bob takes audio only, likes PCMU best and does not know G.722."""
    print("3. Answering")
    plan = sdp.Plan(
        kind="rtp",
        address="192.0.2.4",
        transports=(sdp.TransportPlan("192.0.2.4", 5000),),
        media=("audio",),
        codecs=sdp.CodecPolicy(order=("pcmu", "pcma"), drop=("g722",)),
    )
    answer = sdp.answer(offer, plan)
    show(answer)
    check(len(answer.media) == len(offer.media), "an answer has a section for each of the offer's")
    check(answer.media[1].port == 0, "port 0 turns the video down")
    return answer


def agreeing(offer: sdp.SessionDescription, answer: sdp.SessionDescription) -> None:
    """Offer and answer together say what may flow; each side reads them from where it stands."""
    print("4. Agreeing")
    alice = agreed(sdp.negotiate(offer, answer, local="offerer"))
    bob = agreed(sdp.negotiate(offer, answer, local="answerer"))
    check([c.name for c in alice.send if c.is_media] == ["PCMU", "PCMA"], "Alice sends what Bob likes best: PCMU")
    check([c.key for c in bob.receive] == [c.key for c in alice.send], "which is what Bob expects")
    check(alice.send_events == {8000: 101}, "digits go as payload type 101, on the codec's own clock")
    assert alice.remote is not None
    check((alice.remote.address, alice.remote.port) == ("192.0.2.4", 5000), "media goes to Bob's port")
    check(alice.remote.rtcp_port == 5001, "and RTCP to the one above it")
    check(alice.direction is sdp.Direction.SENDRECV, "both talk")

    other = sdp.SessionDescription.parse(ALICE.replace("101", "96").replace("49170", "6000"))
    numbers = sdp.payload_map(sdp.read_codecs(offer.media[0]), sdp.read_codecs(other.media[0]))
    check(numbers == {9: 9, 8: 8, 0: 0, 101: 96}, "the same codec may have another number in another description")


def holding(offer: sdp.SessionDescription, answer: sdp.SessionDescription) -> None:
    """Hold is a new offer with another direction; the answer mirrors it."""
    print("5. Hold")
    assert offer.origin is not None
    origin = replace(offer.origin, session_version=offer.origin.session_version + 1)
    held = offer.with_lines(f"o={origin}" if line.startswith("o=") else line for line in offer.lines)
    held = held.with_media([offer.media[0].with_direction(sdp.Direction.SENDONLY), offer.media[1]])
    transports = (sdp.TransportPlan("192.0.2.4", 5000),)
    reply = sdp.answer(held, sdp.Plan("rtp", transports, address="192.0.2.4", media=("audio",), previous=answer))
    print(f"  Alice: {held.direction_of(held.media[0])}, Bob: {reply.direction_of(reply.media[0])}")
    check(reply.direction_of(reply.media[0]) is sdp.Direction.RECVONLY, "sendonly is answered recvonly")
    check(agreed(sdp.negotiate(held, reply, local="answerer")).held, "Bob is on hold: nobody wants to hear him")
    check(not agreed(sdp.negotiate(held, reply, local="offerer")).held, "Alice is not: her music still flows")
    before, after = answer.origin, reply.origin
    assert before is not None
    assert after is not None
    check((after.session_id, after.session_version) == (before.session_id, 2), "same session, version 2")
    old_way = sdp.SessionDescription.parse(ALICE.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"))
    check(agreed(sdp.negotiate(old_way, answer, local="answerer")).held, "old phones hold with the address 0.0.0.0")


def refusing() -> None:
    """What cannot be read or agreed on says which status answers it."""
    print("6. What does not work")
    try:
        sdp.SessionDescription.parse(ALICE.replace("m=audio 49170", "m=audio many"))
    except sdp.SdpSyntaxError as error:
        check((error.status, error.line) == (400, 6), f"{error.status}: {error}")
    else:
        sys.exit("FAIL: a port that is no number was taken")
    g729 = sdp.SessionDescription.parse(ALICE.partition("m=")[0] + "m=audio 49170 RTP/AVP 18\n")
    plan = sdp.Plan("rtp", (sdp.TransportPlan("192.0.2.4", 5000),), codecs=sdp.CodecPolicy(only=("pcmu", "pcma")))
    try:
        sdp.answer(g729, plan)
    except sdp.SdpNegotiationError as error:
        check(error.status == 488, f"{error.status}: {error}")
    else:
        sys.exit("FAIL: an answer without a common codec was made")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    first = reading()
    from_scratch()
    reply = answering(first)
    agreeing(first, reply)
    holding(first, reply)
    refusing()
    print("PASS")
