"""The SDP library beside sdp-transform in one process: python -m bench.sdp.

The offer is the audio and video offer of a current Chrome. Translating means what one call does with
it: parse the browser's offer, make the phone's, parse the phone's answer, make the browser's, negotiate
both sides, and write all that goes out; the goal is set for one step of it (parse, translate with
negotiation, write).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

import sdp_transform

from bench.table import Result, faster, medians, report
from sdp import (
    Codec,
    CodecPolicy,
    IceParameters,
    Plan,
    SessionDescription,
    TransportPlan,
    answer,
    negotiate,
    translate,
)
from sdp.attributes import ATTRIBUTES, Fingerprint

OFFER: Final = Path(__file__).parents[1] / "tests" / "sdp" / "descriptions" / "chrome-audio-video-offer.sdp"
PEER: Final = "sdp-transform parse"
SIZES: Final = (8, 16, 32, 64)
"""Kilobytes of the descriptions that show the time to be linear."""

_POLICY: Final = CodecPolicy(
    order=("opus", "g722", "pcmu", "pcma"),
    offer_also=(Codec("opus", 48000, 2), Codec("G722", 8000), Codec("PCMU", 8000), Codec("PCMA", 8000)),
)
_ADDRESS: Final = "198.51.100.1"
_ICE: Final = IceParameters("gateway1", "p" * 24, (f"1 1 udp 2130706431 {_ADDRESS} 3478 typ host",), lite=True)
_FINGERPRINT: Final = Fingerprint("sha-256", ":".join(["AB"] * 32))
BROWSER: Final = Plan(
    "webrtc",
    (TransportPlan(_ADDRESS, 3478, ice=_ICE, fingerprints=(_FINGERPRINT,)),),
    address=_ADDRESS,
    codecs=_POLICY,
    cname="gateway",
    ssrcs=(1, 2),
)
PHONE: Final = Plan(
    "rtp", (TransportPlan(_ADDRESS, 20000), TransportPlan(_ADDRESS, 20002)), address=_ADDRESS, codecs=_POLICY
)
PHONE_ANSWER: Final = (
    "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n"
    "m=audio 5000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
    "m=video 0 RTP/AVP 31\r\n"
)


def to_phone(text: str) -> str:
    """Parse a browser's offer and write the phone's."""
    return str(translate(SessionDescription.parse(text), PHONE))


def answered_early(text: str) -> str:
    """Parse a browser's offer, answer it, negotiate, and write the answer."""
    offer = SessionDescription.parse(text)
    made = answer(offer, BROWSER)
    negotiate(offer, made, local="answerer")
    return str(made)


def answered(text: str) -> str:
    """Parse a browser's offer and a phone's answer, translate it, negotiate, and write the browser's answer."""
    offer = SessionDescription.parse(text)
    made = translate(SessionDescription.parse(PHONE_ANSWER), BROWSER, offer=offer)
    negotiate(offer, made, local="answerer")
    return str(made)


def whole_exchange(text: str) -> tuple[str, str]:
    """A whole call: a browser's offer to the phone, its answer back, both sides negotiated, both texts written."""
    offer = SessionDescription.parse(text)
    offered = translate(offer, PHONE)
    written = str(offered)
    answer_of_phone = SessionDescription.parse(PHONE_ANSWER)
    negotiate(offered, answer_of_phone, local="offerer")
    made = translate(answer_of_phone, BROWSER, offer=offer)
    negotiate(offer, made, local="answerer")
    return written, str(made)


def every_view(text: str) -> int:
    """Parse an offer and read every typed view of all its sections; how many values there are."""
    offer = SessionDescription.parse(text)
    return sum(len(section.all(view)) for section in (offer, *offer.media) for view in ATTRIBUTES.values())


def measured() -> list[Result]:
    """Our figures beside sdp-transform's parse of the same text."""
    text = OFFER.read_bytes().decode()
    parsed = SessionDescription.parse(text)
    peer_value = sdp_transform.parse(text)
    taken = medians(
        {
            "peer parse": lambda: sdp_transform.parse(text),
            "peer write": lambda: sdp_transform.write(peer_value),
            "parse": lambda: SessionDescription.parse(text),
            "write": lambda: str(parsed),
            "offer to the phone": lambda: to_phone(text),
            "early answer to the browser": lambda: answered_early(text),
            "answer to the browser": lambda: answered(text),
            "whole exchange": lambda: whole_exchange(text),
            "every view": lambda: every_view(text),
            "to_dict": lambda: SessionDescription.parse(text).to_dict(),
        }
    )
    peer = taken["peer parse"]
    steps = ("offer to the phone", "early answer to the browser", "answer to the browser")
    return [
        faster("parse a Chrome offer", taken["parse"], PEER, peer, "ratio >= 10"),
        faster("write a Chrome offer", taken["write"], "sdp-transform write", taken["peer write"]),
        faster("parse to sdp-transform's shape", taken["to_dict"], PEER, peer),
        *[faster(f"parse, negotiate, write: {step}", taken[step], PEER, peer, "ratio >= 6") for step in steps],
        faster("a whole exchange, both sides negotiated", taken["whole exchange"], PEER, peer, "ratio >= 4"),
        faster("parse and read every view", taken["every view"], PEER, peer, "ratio >= 4"),
    ]


def long_offer(size: int) -> str:
    """An offer of at most `size` octets: the Chrome offer with its last section again and again, then SSRC lines."""
    text = OFFER.read_bytes().decode()
    before, _, section = text.rpartition("m=")
    mid = section.partition("a=mid:")[2].partition("\r\n")[0]
    parts = [before, "m=" + section]
    length = len(text)
    number = 0
    while length + len(section) + 8 < size:
        number += 1
        parts.append("m=" + section.replace(f"a=mid:{mid}", f"a=mid:{mid}x{number}"))
        length += len(parts[-1])
    while (rest := size - length) > 30:
        parts.append(f"a=ssrc:{rest} cname:c\r\n")
        length += len(parts[-1])
    return "".join(parts)


def linear() -> list[Result]:
    """The time by length; twice the text is to take about twice the time."""
    texts = {size: long_offer(size * 1024) for size in SIZES}
    results = []
    for what, act in (("parse", SessionDescription.parse), ("answer", answered_early)):
        taken = medians({str(size): partial(act, text) for size, text in texts.items()}, 60)
        for size, text in texts.items():
            results.append(Result(f"{what} {len(text):,} octets", taken[str(size)] * 1e6, "µs"))
        longer = len(texts[SIZES[-1]]) / len(texts[SIZES[0]])
        growth = taken[str(SIZES[-1])] / taken[str(SIZES[0])] / longer
        results.append(Result(f"{what}: time by length, {longer:.0f} times the text", growth, "times", "value <= 1.5"))
    return results


def main() -> bool:
    """Measure, print, write bench/results/sdp.json; whether every goal is met."""
    return report("sdp", [*measured(), *linear()])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
