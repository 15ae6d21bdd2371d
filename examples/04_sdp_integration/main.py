"""Example 4: read session descriptions, answer an offer, and see what both sides agreed on."""

from __future__ import annotations

from gateway.lesson import check, run, table

from collections.abc import Callable
from dataclasses import replace

from offers import ALICE, MEANING, agreed, side_by_side

import sdp
from sdp.attributes import Ptime

BOB = (sdp.TransportPlan("192.0.2.4", 5000),)


def reading() -> sdp.SessionDescription:
    """Text to values: nothing is lost, known lines have types."""
    print("1. Reading: what Alice offers")
    offer = sdp.SessionDescription.parse(ALICE)
    audio = offer.media[0]
    for media in offer.media:
        place, way = offer.connection_of(media), offer.direction_of(media)
        table(("section", "address", "port", "direction"), (media.kind, place and place.address, media.port, way))
        codecs = sdp.read_codecs(media)
        table(("number", "codec", "parameters"), *((one.payload_type, one.rtpmap, one.fmtp) for one in codecs))
    names = [codec.name for codec in sdp.read_codecs(audio)]
    check(names == ["G722", "PCMA", "PCMU", "telephone-event"], "codecs in Alice's order, the best first")
    check(offer.direction_of(audio) is sdp.Direction.SENDRECV, "no direction means sendrecv")
    check(audio.first(Ptime) == Ptime.parse("20"), "a=ptime has a typed view")
    check("a=x-mood:curious" in audio.lines, "a line that nobody knows is kept")
    check(str(offer) == ALICE.replace("\n", "\r\n"), "written again it is the same, with CRLF")
    return offer


def from_scratch() -> None:
    """A description made of values, as a phone makes its first offer."""
    print("2. Writing: Carol's first offer, and what each line says")
    audio = sdp.MediaDescription.build("audio", 4000, "RTP/AVP", (0,), attributes=["rtpmap:0 PCMU/8000", "ptime:20"])
    origin, connection = sdp.Origin("carol", "7", 1, "192.0.2.9"), sdp.Connection("192.0.2.9")
    offer = sdp.SessionDescription.build(origin, [audio], connection=connection)
    table(*zip(str(offer).splitlines(), MEANING, strict=True))
    check(sdp.SessionDescription.parse(str(offer)) == offer, "a description from scratch, and it can be read")


def answering(offer: sdp.SessionDescription) -> sdp.SessionDescription:
    """Bob takes audio only, likes PCMU best and does not know G.722."""
    print("3. Answering")
    plan = sdp.Plan(
        kind="rtp",
        address="192.0.2.4",
        transports=BOB,
        media=("audio",),
        codecs=sdp.CodecPolicy(order=("pcmu", "pcma"), drop=("g722",)),
    )
    answer = sdp.answer(offer, plan)
    side_by_side("Alice offers", offer, "Bob answers", answer)
    check(len(answer.media) == len(offer.media), "an answer has a section for each of the offer's")
    check(answer.media[1].port == 0, "port 0 turns the video down")
    return answer


def agreeing(offer: sdp.SessionDescription, answer: sdp.SessionDescription) -> None:
    """Offer and answer together say what may flow; each side reads them from where it stands."""
    print("4. Agreeing: what each side does now")
    alice = agreed(sdp.negotiate(offer, answer, local="offerer"))
    bob = agreed(sdp.negotiate(offer, answer, local="answerer"))
    assert alice.remote is not None
    assert bob.remote is not None
    rows: list[tuple[object, ...]] = [("", "sends", "digits as", "to", "RTCP to", "direction")]
    for name, side, to in (("Alice", alice, alice.remote), ("Bob", bob, bob.remote)):
        codecs = ", ".join(codec.name for codec in side.send if codec.is_media)
        rows.append((name, codecs, side.send_events[8000], f"{to.address}:{to.port}", to.rtcp_port, side.direction))
    table(*rows)
    check([c.name for c in alice.send if c.is_media] == ["PCMU", "PCMA"], "Alice sends what Bob likes best: PCMU")
    check([c.key for c in bob.receive] == [c.key for c in alice.send], "which is what Bob expects")
    check(alice.send_events == {8000: 101}, "digits go as payload type 101, on the codec's own clock")
    check((alice.remote.address, alice.remote.port) == ("192.0.2.4", 5000), "media goes to Bob's port")
    check(alice.remote.rtcp_port == 5001, "and RTCP to the one above it")

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
    reply = sdp.answer(held, sdp.Plan("rtp", BOB, address="192.0.2.4", media=("audio",), previous=answer))
    old_way = sdp.SessionDescription.parse(ALICE.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"))
    rows: list[tuple[str, ...]] = [("", "Alice offers", "Bob answers", "version", "Alice is held", "Bob is held")]
    for name, ours, theirs in (("the call", offer, answer), ("hold", held, reply), ("as old phones", old_way, answer)):
        ways = (str(one.direction_of(one.media[0])) for one in (ours, theirs))
        on_hold = (str(agreed(sdp.negotiate(ours, theirs, local=side)).held) for side in ("offerer", "answerer"))
        rows.append((name, *ways, str(theirs.origin and theirs.origin.session_version), *on_hold))
    table(*rows)
    check(rows[1][1:] == ("sendrecv", "sendrecv", "1", "False", "False"), "nobody is held: both talk")
    check(rows[2][1:3] == ("sendonly", "recvonly"), "sendonly is answered recvonly")
    check(rows[2][3:] == ("2", "False", "True"), "only Bob is held, in the second version: Alice's music still flows")
    check(rows[3][5] == "True", "old phones hold with the address 0.0.0.0")


def refusal(attempt: Callable[[], object]) -> tuple[int, str]:
    """Status and words of an error; (200, "OK") where there is none."""
    try:
        attempt()
    except (sdp.SdpSyntaxError, sdp.SdpNegotiationError) as error:
        return error.status, str(error)
    return 200, "OK"


def refusing() -> None:
    """What cannot be read or agreed on says which status answers it."""
    print("6. What does not work")
    g729 = sdp.SessionDescription.parse(ALICE.partition("m=")[0] + "m=audio 49170 RTP/AVP 18\n")
    plan = sdp.Plan("rtp", BOB, codecs=sdp.CodecPolicy(only=("pcmu", "pcma")))
    broken = refusal(lambda: sdp.SessionDescription.parse(ALICE.replace("m=audio 49170", "m=audio many"), strict=True))
    strange = refusal(lambda: sdp.answer(g729, plan))
    table(("m=audio many", *broken), ("G.729 alone", *strange))
    check(broken == (400, "line 6, column 8: expected a space and a port"), "the error says where it is")
    check(strange[0] == 488, "what is well written, but has no codec that we know, is another error: 488")


def main() -> None:
    offer = reading()
    from_scratch()
    answer = answering(offer)
    agreeing(offer, answer)
    holding(offer, answer)
    refusing()


if __name__ == "__main__":
    run(main, __doc__)
