"""The reply to a query in the words of the engine's interface; whatever is missing counts as nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.media.engine import StreamStatistics
from gateway.media.rtpengine.bencode import Value


@dataclass(frozen=True, slots=True)
class Heard:
    """What rtpengine has received from one party."""

    packets: int = 0
    """RTP."""
    bytes: int = 0
    errors: int = 0
    """Packets that were dropped."""
    control: int = 0
    """RTCP packets."""
    lost: int = 0
    """Packets, as the receiver of the stream reports them."""
    jitter_ms: float = 0.0
    rtt_ms: float | None = None
    expected: bool = True
    """Whether the party has been told that it may send."""

    transcoding: bool = False
    """Whether its audio is decoded and encoded again."""

    def stream(self, codec: str | None) -> StreamStatistics:
        return StreamStatistics(self.packets, self.bytes, self.lost, self.jitter_ms, self.errors, codec)


def heard(reply: Mapping[str, Value]) -> dict[str, Heard]:
    """By tag, what a query's reply says of each party."""
    quality = _mapping(reply.get("SSRC"))
    return {tag: _party(_mapping(party), quality) for tag, party in _mapping(reply.get("tags")).items()}


def _party(party: Mapping[str, Value], quality: Mapping[str, Value]) -> Heard:
    packets = size = errors = control = lost = 0
    jitter, rtt, expected, transcoding = 0.0, None, False, False
    for media in _mappings(party.get("medias")):
        if media.get("type") != "audio":
            continue
        words = _words(media.get("flags"))
        expected, transcoding = expected or "recv" in words, transcoding or "transcoding" in words
        for stream in _mappings(media.get("streams")):
            counted = _mapping(stream.get("stats"))
            if "RTP" not in _words(stream.get("flags")):
                control += _number(counted.get("packets"))
                continue
            packets += _number(counted.get("packets"))
            size += _number(counted.get("bytes"))
            errors += _number(counted.get("errors"))
            reported = _mapping(quality.get(str(_number(stream.get("SSRC")))))
            average = _mapping(reported.get("average MOS"))
            lost += _number(reported.get("cumulative loss"))
            jitter = max(jitter, float(_number(average.get("jitter"))))
            trip = _number(average.get("round-trip time"))
            rtt = trip / 1000 if trip else rtt
    return Heard(packets, size, errors, control, lost, jitter, rtt, expected, transcoding)


def _mapping(value: Value | None) -> Mapping[str, Value]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Value | None) -> Iterator[Mapping[str, Value]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _words(value: Value | None) -> list[Value]:
    return value if isinstance(value, list) else []


def _number(value: Value | None) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
