"""Phones that say how large the pictures are that they take, and what they are told of that."""

from __future__ import annotations

from sdp import SessionDescription
from tests.media.engine_support import phone_sdp

H264 = "packetization-mode=1;profile-level-id={};level-asymmetry-allowed=1"
ALIKE = "packetization-mode=1;profile-level-id={}"
"""Of who allows no other level for what it sends."""
LARGE, SMALL, LARGER = H264.format("42e01f"), H264.format("42e00c"), H264.format("42e028")


def phone(fmtp: str, codec: str = "H264") -> str:
    said = f"a=fmtp:98 {fmtp}\r\n" if fmtp else ""
    return f"{phone_sdp()}m=video 5004 RTP/AVP 98\r\na=rtpmap:98 {codec}/90000\r\n{said}a=sendrecv\r\n"


def said(sdp: str) -> dict[str, str]:
    """Of the picture."""
    media = next(each for each in SessionDescription.parse(sdp).media if each.kind == "video")
    lines = [line.partition(" ")[2] for line in media.values("fmtp")]
    return dict(part.split("=") for part in lines[0].split(";")) if lines else {}


def level(sdp: str) -> str:
    return said(sdp)["profile-level-id"][4:]
