"""Part 1: what a real Chromium offers, what it is answered, and what a desk phone is told in its place."""

from __future__ import annotations

from gateway.lesson import beside, check, run

from typing import TYPE_CHECKING

from chromium import Tab, chromium

import sdp
from sdp.attributes import Candidate, Fingerprint, IceUfrag, Setup

if TYPE_CHECKING:
    from playwright.async_api import Browser

KEY = Fingerprint("sha-256", ":".join(["AB"] * 32))
OURS = sdp.IceParameters("gate", "0123456789012345678901", ("1 1 udp 2130706431 127.0.0.1 40000 typ host",), lite=True)
TO_BROWSER = sdp.Plan(
    "webrtc",
    (sdp.TransportPlan("127.0.0.1", 40000, ice=OURS, fingerprints=(KEY,)),),
    address="127.0.0.1",
    media=("audio",),
)
TO_PHONE = sdp.Plan("rtp", (sdp.TransportPlan("127.0.0.1", 30000),), address="127.0.0.1", media=("audio",))
PHONE = """v=0
o=phone 7 7 IN IP4 192.0.2.55
s=-
c=IN IP4 192.0.2.55
t=0 0
m=audio 4000 RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
"""


def read(offer: sdp.SessionDescription) -> None:
    """The sections of the offer, and what the audio section says, as values."""
    for section in offer.media:
        names = [codec.rtpmap.split("/")[0] for codec in sdp.read_codecs(section)]
        print(f"  {section.kind}: {len(section.lines)} lines, {', '.join(dict.fromkeys(names))}")
    audio = offer.media[0]
    check(audio.protocol == "UDP/TLS/RTP/SAVPF", "its profile is SRTP with feedback, keyed by DTLS")
    check(audio.port == 9 and not audio.candidates, "port 9 and no candidate: addresses come later, one by one")
    check("trickle" in (audio.value("ice-options") or ""), "which a=ice-options:trickle announces")
    check(str(offer.first_of(audio, Setup)) == "actpass", "either side may begin the DTLS handshake")
    same = {offer.first_of(section, IceUfrag) for section in offer.media}
    check(len(same) == 1 and offer.has("group"), "BUNDLE: all sections share one transport, so one ice-ufrag")


def read_candidates(lines: list[str]) -> None:
    """What came after the offer."""
    found = [Candidate.parse(line.removeprefix("candidate:")) for line in lines]
    kinds = sorted({f"{one.type} {one.transport.lower()}" for one in found})
    print(f"  {len(found)} candidates: {', '.join(kinds)}")
    check(any(one.address == "127.0.0.1" and one.type == "host" for one in found), "one of them is on loopback")


def differences(web: sdp.SessionDescription, phone: sdp.SessionDescription) -> None:
    """What is translated; each sentence is checked on both descriptions."""
    ours, theirs = web.media[0], phone.media[0]
    check((ours.protocol, theirs.protocol) == ("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "profile: SRTP with feedback -> RTP")
    check(ours.has("ice-ufrag") and not theirs.has("ice-ufrag"), "ICE: credentials and candidates -> one address")
    check(ours.port == 9 and theirs.port == 30000, "port 9, which says nothing -> the gateway's own port")
    keys = web.first_of(ours, Fingerprint) is not None and web.first_of(ours, Setup) is not None
    check(keys and not theirs.has("fingerprint") and not theirs.has("setup"), "DTLS: fingerprint and role -> none")
    check(ours.rtcp_mux and not theirs.rtcp_mux, "RTCP on the same port -> on the next one")
    check(ours.has("extmap") and not theirs.has("extmap"), "header extensions -> none")
    check(ours.has("ssrc") and not theirs.has("ssrc"), "names of streams and sources -> none")
    check(len(web.media) == 2 and len(phone.media) == 1, "video, for which this phone has no screen -> left out")
    before, after = ({codec.rtpmap for codec in sdp.read_codecs(one)} for one in (ours, theirs))
    check("PCMU/8000" in before & after, "PCMU -> PCMU: what both know is never decoded on its way")


async def lesson(browser: Browser) -> None:
    print(f"Part 1: an offer of Chromium {browser.version}")
    caller = Tab(browser, 523)
    await caller.open(video=True)
    offer = sdp.SessionDescription.parse(await caller.offer())
    read(offer)
    read_candidates(await caller.candidates())

    print("  Translated: what it says about audio, and what the phone is offered in its place")
    told = sdp.translate(offer, TO_PHONE)
    beside(offer.media[0].lines, told.media[0].lines)
    differences(offer, told)

    print("  Answered: what the phone says, and what the browser is told in its place")
    said = sdp.SessionDescription.parse(PHONE)
    answer = sdp.translate(said, TO_BROWSER, offer=offer)
    beside(PHONE.splitlines(), str(answer).splitlines())
    agreed = sdp.negotiate(offer, answer, local="answerer").first("audio")
    check(agreed is not None and agreed.send[0].rtpmap == "PCMU/8000", "agreed on: PCMU, which both know, and digits")
    check(answer.media[1].port == 0, "video is refused: a section keeps its place, with port 0")
    check(answer.has("ice-lite"), "ICE-lite: the gateway only answers checks, it has nothing to gather")
    check(str(answer.first_of(answer.media[0], Setup)) == "passive", "the browser begins the handshake")
    check(await caller.accept(str(answer)) == "stable", "Chromium takes it: its signalling state is stable")


async def main() -> None:
    async with chromium() as browser:
        await lesson(browser)


if __name__ == "__main__":
    run(main, __doc__, log=True)
