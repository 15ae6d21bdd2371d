"""What Alice offers, and how descriptions and agreements are shown."""

from __future__ import annotations

from gateway.lesson import beside

import sys

import sdp

ALICE = """\
v=0
o=alice 2890844526 1 IN IP4 192.0.2.1
s=Lunch
c=IN IP4 192.0.2.1
t=0 0
m=audio 49170 RTP/AVP 9 8 0 101
a=rtpmap:9 G722/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=x-mood:curious
m=video 51372 RTP/AVP 99
a=rtpmap:99 H264/90000
a=sendonly
"""

MEANING = (
    "the version of the syntax: always 0",
    "who describes: a name, the session, its version, an address",
    "what the session is called: nothing",
    "where media is heard, unless a section says otherwise",
    "from when until when: as long as it lasts",
    "audio at port 4000, in RTP, by payload type 0",
    "0 is PCMU, 8000 samples a second",
    "20 ms of it in each packet",
)
"""Of each line of a first offer, in its order."""


def side_by_side(left: str, ours: sdp.SessionDescription, right: str, theirs: sdp.SessionDescription) -> None:
    """Print two descriptions beside each other, each section beside the one in its place."""
    beside([left], [right])
    beside(ours.lines, theirs.lines)
    for mine, other in zip(ours.media, theirs.media, strict=True):
        beside(mine.lines, other.lines)


def agreed(agreement: sdp.Agreement) -> sdp.MediaAgreement:
    """The audio section that was agreed on."""
    audio = agreement.first("audio")
    if audio is None:
        sys.exit("FAIL: no audio was agreed on")
    return audio
