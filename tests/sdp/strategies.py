"""Descriptions that hypothesis makes up."""

from __future__ import annotations

from hypothesis import strategies as st

from sdp.attributes import ATTRIBUTES

VALUES = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=40)


NAMES = st.sampled_from([*ATTRIBUTES, "sendrecv", "inactive", "x-unknown", "imageattr", "mediaclk", "floorid"])


WORDS = st.lists(
    st.sampled_from(["0", "1", "96", "99999", "opus/48000/2", "IN", "IP4", "192.0.2.1", "send", "a=b;c", "typ", "host",
                     "inline:AAAA", "udp", "x:y", "[x=1]", "-", "~", ",", ";", '"', "=", "/2", "∞", ""]),
    max_size=9,
).map(" ".join)  # fmt: skip


ATTRIBUTE_LINES = st.tuples(NAMES, st.sampled_from([":", "", ": "]), WORDS | VALUES).map(
    lambda parts: "a=" + "".join(parts)
)


OTHER_LINES = st.tuples(st.sampled_from("osiuepcbtrzkfy"), WORDS | VALUES).map("=".join)


LINES = st.lists(ATTRIBUTE_LINES | OTHER_LINES, max_size=12)


MEDIA_LINES = st.tuples(
    st.sampled_from(["audio", "video", "application"]),
    st.integers(0, 65535),
    st.sampled_from(["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP"]),
    st.lists(st.sampled_from(["0", "8", "96", "101", "111", "webrtc-datachannel"]), max_size=4),
).map(lambda parts: " ".join([f"m={parts[0]}", str(parts[1]), parts[2], *parts[3]]))


SECTIONS = st.tuples(MEDIA_LINES, LINES).map(lambda parts: [parts[0], *parts[1]])


DESCRIPTIONS = st.tuples(LINES, st.lists(SECTIONS, max_size=4)).map(
    lambda parts: "\r\n".join(["v=0", *parts[0], *(line for section in parts[1] for line in section), ""])
)
