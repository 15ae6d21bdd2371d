"""Sections and sources: mid, group, msid, ssrc, ssrc-group, rid, simulcast, extmap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, Self, final

from sdp.attributes.base import TOKEN, Flag, Text, words
from sdp.errors import SdpSyntaxError
from sdp.grammar import Grammar, remember

_TOKEN_ONLY: Final = Grammar(("a token", rf"(?P<value>{TOKEN}) *"))


@dataclass(frozen=True, slots=True)
class Mid(Text):
    """a=mid (RFC 5888 section 4)."""

    GRAMMAR: ClassVar[Grammar] = _TOKEN_ONLY
    NAME: ClassVar[str] = "mid"


@dataclass(frozen=True, slots=True)
class BundleOnly(Flag):
    """a=bundle-only (RFC 8843 section 6)."""

    NAME: ClassVar[str] = "bundle-only"


@dataclass(frozen=True, slots=True)
class Group:
    """a=group (RFC 5888 section 5; BUNDLE RFC 8843 section 5)."""

    semantics: str
    mids: tuple[str, ...] = ()

    NAME: ClassVar[str] = "group"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `semantics mid ...`; raise SdpSyntaxError (line 0)."""
        match = _GROUP.match(value)
        return cls(match["semantics"], words(match["mids"]))

    def __str__(self) -> str:
        return " ".join((self.semantics, *self.mids))


_GROUP: Final = Grammar(
    ("semantics", rf"(?P<semantics>{TOKEN})"),
    ("spaces and mids", rf"(?P<mids>(?: +{TOKEN})*+) *"),
)


@dataclass(frozen=True, slots=True)
class Msid:
    """a=msid (RFC 8830 section 2)."""

    stream: str
    """MediaStream id, "-" for none (RFC 8829 section 5.2.1)."""
    track: str | None = None

    NAME: ClassVar[str] = "msid"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `stream [track]`; raise SdpSyntaxError (line 0)."""
        match = _MSID.match(value)
        return cls(match["stream"], match["track"])

    def __str__(self) -> str:
        return self.stream if self.track is None else f"{self.stream} {self.track}"


_MSID: Final = Grammar(
    ("a stream id", r"(?P<stream>[^ ]+)"),
    ("a space and a track id", r"(?: +(?P<track>[^ ]+))? *"),
)


@dataclass(frozen=True, slots=True)
class MsidSemantic:
    """a=msid-semantic (drafts before RFC 8830, sent by every browser): usually WMS."""

    semantic: str
    ids: tuple[str, ...] = ()

    NAME: ClassVar[str] = "msid-semantic"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `[ ]semantic id ...`; raise SdpSyntaxError (line 0) for an empty value."""
        parts = words(value)
        if not parts:
            raise SdpSyntaxError(0, 1, "a semantic")
        return cls(parts[0], parts[1:])

    def __str__(self) -> str:
        return " ".join((self.semantic, *self.ids))


@dataclass(frozen=True, slots=True)
class Ssrc:
    """a=ssrc (RFC 5576 section 4.1)."""

    ssrc: int
    attribute: str
    """cname, msid, label, previous-ssrc ..."""
    value: str | None = None

    NAME: ClassVar[str] = "ssrc"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `ssrc attribute[:value]`; raise SdpSyntaxError (line 0)."""
        match = _SSRC.match(value)
        return cls(_ssrc(match["ssrc"], 1), match["attribute"], match["value"])

    def __str__(self) -> str:
        return f"{self.ssrc} {self.attribute}" if self.value is None else f"{self.ssrc} {self.attribute}:{self.value}"


_SSRC: Final = Grammar(
    ("an SSRC", r"(?P<ssrc>[0-9]{1,10})"),
    ("a space and an attribute", r" +(?P<attribute>[^ :]+)"),
    ("a colon and a value", r"(?::(?P<value>.*))?"),
)


def _ssrc(text: str, column: int) -> int:
    number = int(text)
    if number > 0xFFFFFFFF:
        raise SdpSyntaxError(0, column, "an SSRC of at most 32 bits")
    return number


@dataclass(frozen=True, slots=True)
class SsrcGroup:
    """a=ssrc-group (RFC 5576 section 4.2): FID (rtx), FEC-FR, SIM."""

    semantics: str
    ssrcs: tuple[int, ...] = ()

    NAME: ClassVar[str] = "ssrc-group"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `semantics ssrc ...`; raise SdpSyntaxError (line 0)."""
        match = _SSRC_GROUP.match(value)
        column = match.start("ssrcs") + 1
        return cls(match["semantics"], tuple(_ssrc(text, column) for text in words(match["ssrcs"])))

    def __str__(self) -> str:
        return " ".join((self.semantics, *map(str, self.ssrcs)))


_SSRC_GROUP: Final = Grammar(
    ("semantics", rf"(?P<semantics>{TOKEN})"),
    ("spaces and SSRCs", r"(?P<ssrcs>(?: +[0-9]{1,10})*+) *"),
)


@dataclass(frozen=True, slots=True)
class Rid:
    """a=rid (RFC 8851 section 10): restricted RTP stream."""

    id: str
    direction: str
    """send or recv."""
    formats: tuple[str, ...] = ()
    """Payload types of pt=, empty for all of the m= line."""
    restrictions: tuple[tuple[str, str | None], ...] = ()
    """max-width, max-height, max-fps, max-fs, max-br, max-pps, max-bpp, depend, in order."""

    NAME: ClassVar[str] = "rid"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `id direction [pt=...;name=value;...]`; raise SdpSyntaxError (line 0)."""
        match = _RID.match(value)
        formats: tuple[str, ...] = ()
        restrictions: list[tuple[str, str | None]] = []
        for part in filter(None, (match["parameters"] or "").split(";")):
            name, equals, text = part.strip(" ").partition("=")
            if name == "pt":
                formats = tuple(text.split(","))
            else:
                restrictions.append((name, text if equals else None))
        return cls(match["id"], match["direction"], formats, tuple(restrictions))

    @property
    def parameters(self) -> Mapping[str, str | None]:
        """Return the restrictions by name."""
        return MappingProxyType(dict(self.restrictions))

    def __str__(self) -> str:
        parts = [f"pt={','.join(self.formats)}"] if self.formats else []
        parts += [name if text is None else f"{name}={text}" for name, text in self.restrictions]
        return f"{self.id} {self.direction} {';'.join(parts)}" if parts else f"{self.id} {self.direction}"


_RID: Final = Grammar(
    ("a restriction id", r"(?P<id>[A-Za-z0-9_\-]+)"),
    ("a space and send or recv", r" +(?P<direction>send|recv)"),
    ("a space and restrictions", r"(?: +(?P<parameters>.*))?"),
)


@dataclass(frozen=True, slots=True)
class SimulcastStream:
    """Alternative of a simulcast stream: a restriction id, "~" if initially paused."""

    id: str
    paused: bool = False

    def __str__(self) -> str:
        return "~" + self.id if self.paused else self.id


Streams = tuple[tuple[SimulcastStream, ...], ...]
"""Simulcast streams, each a tuple of alternatives, best first."""


@dataclass(frozen=True, slots=True)
class Simulcast:
    """a=simulcast (RFC 8853 section 5.1)."""

    send: Streams = ()
    recv: Streams = ()

    NAME: ClassVar[str] = "simulcast"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `send streams`, `recv streams` or both in either order; raise SdpSyntaxError (line 0)."""
        match = _SIMULCAST.match(value)
        found = {match["first"]: _streams(match["streams1"]), match["second"]: _streams(match["streams2"] or "")}
        if match["first"] == match["second"]:
            raise SdpSyntaxError(0, match.start("second") + 1, "the other direction")
        return cls(found.get("send", ()), found.get("recv", ()))

    def __str__(self) -> str:
        sides = (("send", self.send), ("recv", self.recv))
        return " ".join(
            f"{name} {';'.join(','.join(map(str, alternatives)) for alternatives in streams)}"
            for name, streams in sides
            if streams
        )


_LIST: Final = r"~?[A-Za-z0-9_\-]+(?:[,;]~?[A-Za-z0-9_\-]+)*+"
_SIMULCAST: Final = Grammar(
    ("send or recv", r"(?P<first>send|recv)"),
    ("a space and restriction ids", rf" +(?P<streams1>{_LIST})"),
    ("a space, recv or send, and restriction ids", rf"(?: +(?P<second>send|recv) +(?P<streams2>{_LIST}))? *"),
)


def _streams(text: str) -> Streams:
    return tuple(
        tuple(SimulcastStream(name.lstrip("~"), name.startswith("~")) for name in alternatives.split(","))
        for alternatives in text.split(";")
        if alternatives
    )


@final
@dataclass(frozen=True, slots=True)
class ExtMap:
    """a=extmap (RFC 8285 section 8; SDES items RFC 7941, encryption RFC 6904)."""

    id: int
    """1 to 14 for one-byte headers, up to 255 for two-byte headers, 4096 and above while not agreed yet."""
    uri: str
    direction: str | None = None
    attributes: str | None = None
    """Text after the URI; with uri ENCRYPT the URI of the encrypted extension."""

    NAME: ClassVar[str] = "extmap"

    @classmethod
    def parse(cls, value: str) -> ExtMap:
        """Parse `id[/direction] uri [attributes]`; raise SdpSyntaxError (line 0)."""
        return _read_extmap(value)

    def __str__(self) -> str:
        direction = f"/{self.direction}" if self.direction is not None else ""
        attributes = f" {self.attributes}" if self.attributes is not None else ""
        return f"{self.id}{direction} {self.uri}{attributes}"


ENCRYPT: Final = "urn:ietf:params:rtp-hdrext:encrypt"
SDES_MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
SDES_RTP_STREAM_ID: Final = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
SDES_REPAIRED_RTP_STREAM_ID: Final = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
SSRC_AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
_EXTMAP: Final = Grammar(
    ("an id", r"(?P<id>[0-9]{1,5})"),
    ("a slash and a direction", r"(?:/(?P<direction>sendrecv|sendonly|recvonly|inactive))?"),
    ("a space and a URI", r" +(?P<uri>[^ ]+)"),
    ("a space and attributes", r"(?: +(?P<attributes>.*))?"),
)


@remember
def _read_extmap(value: str) -> ExtMap:
    match = _EXTMAP.match(value)
    attributes = (match["attributes"] or "").rstrip(" ") or None
    return ExtMap(int(match["id"]), match["uri"], match["direction"], attributes)


@dataclass(frozen=True, slots=True)
class ExtMapAllowMixed(Flag):
    """a=extmap-allow-mixed (RFC 8285 section 6)."""

    NAME: ClassVar[str] = "extmap-allow-mixed"
