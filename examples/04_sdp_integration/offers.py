"""What Alice offers, and how descriptions and agreements are shown."""

from __future__ import annotations

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


def show(description: sdp.SessionDescription) -> None:
    """Print a description."""
    for line in str(description).splitlines():
        print(f"  | {line}")


def agreed(agreement: sdp.Agreement) -> sdp.MediaAgreement:
    """The audio section that was agreed on."""
    audio = agreement.first("audio")
    if audio is None:
        sys.exit("FAIL: no audio was agreed on")
    return audio
