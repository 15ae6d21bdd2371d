"""ICE (RFC 8839) and trickle ICE (RFC 8840): candidates, credentials, options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from sdp.attributes.base import TOKEN, Flag, Number, Text, words
from sdp.errors import SdpSyntaxError
from sdp.grammar import ADDRESS, Grammar

_VISIBLE: Final = r"[!-~]"


@dataclass(frozen=True, slots=True)
class Candidate:
    """a=candidate (RFC 8839 section 5.1, TCP types RFC 6544)."""

    foundation: str
    component: int
    """1: RTP (or all, with rtcp-mux), 2: RTCP."""
    transport: str
    """udp or tcp, as written; compared without case."""
    priority: int
    address: str
    """IP address or host name (an mDNS name ends in .local)."""
    port: int
    type: str
    """host, srflx, prflx, relay."""
    related_address: str | None = None
    related_port: int | None = None
    extensions: tuple[tuple[str, str], ...] = ()
    """Trailing name and value pairs: tcptype, generation, ufrag, network-id, network-cost."""

    NAME: ClassVar[str] = "candidate"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the value after "candidate:"; raise SdpSyntaxError (line 0)."""
        match = _CANDIDATE.match(value)
        port = int(match["port"])
        related_port = int(match["related_port"]) if match["related_port"] else None
        if port > 65535 or (related_port or 0) > 65535:
            raise SdpSyntaxError(0, match.start("port") + 1, "ports of at most 65535")
        rest = words(match["extensions"])
        return cls(
            match["foundation"],
            int(match["component"]),
            match["transport"],
            int(match["priority"]),
            match["address"],
            port,
            match["type"],
            match["related_address"],
            related_port,
            tuple(zip(rest[::2], rest[1::2], strict=False)),
        )

    @classmethod
    def parse_line(cls, line: str) -> Self:
        """Parse "candidate:..." in the form used by browsers, or a whole "a=candidate:..." line."""
        for prefix in ("a=candidate:", "candidate:"):
            if line.startswith(prefix):
                try:
                    return cls.parse(line[len(prefix) :])
                except SdpSyntaxError as error:
                    raise error.at(0, len(prefix)) from None
        raise SdpSyntaxError(0, 1, '"candidate:"')

    def extension(self, name: str) -> str | None:
        """Return the value of the first extension with a name, None if absent."""
        return next((value for key, value in self.extensions if key == name), None)

    @property
    def tcp_type(self) -> str | None:
        """Return active, passive or so (RFC 6544 section 4.5); None for UDP."""
        return self.extension("tcptype")

    def __str__(self) -> str:
        parts = [
            f"{self.foundation} {self.component} {self.transport} {self.priority} "
            f"{self.address} {self.port} typ {self.type}"
        ]
        if self.related_address is not None:
            parts.append(f"raddr {self.related_address}")
        if self.related_port is not None:
            parts.append(f"rport {self.related_port}")
        parts += [f"{name} {value}" for name, value in self.extensions]
        return " ".join(parts)


_CANDIDATE: Final = Grammar(
    ("a foundation", r"(?P<foundation>[^ ]{1,64})"),
    ("a space and a component id", r" +(?P<component>[0-9]{1,5})"),
    ("a space and a transport", rf" +(?P<transport>{TOKEN})"),
    ("a space and a priority", r" +(?P<priority>[0-9]{1,10})"),
    ("a space and an address", rf" +(?P<address>[^ ]{ADDRESS})"),
    ("a space and a port", r" +(?P<port>[0-9]{1,5})"),
    ('" typ " and a candidate type', rf" +typ +(?P<type>{TOKEN})"),
    ('" raddr " and an address', r"(?: +raddr +(?P<related_address>[^ ]+))?"),
    ('" rport " and a port', r"(?: +rport +(?P<related_port>[0-9]{1,5}))?"),
    ("pairs of a name and a value", r"(?P<extensions>(?: +[^ ]+ +[^ ]+)*+) *"),
)


_CREDENTIAL: Final = Grammar(("visible ASCII, at most 256 characters", rf"(?P<value>{_VISIBLE}{{1,256}}) *"))


@dataclass(frozen=True, slots=True)
class IceUfrag(Text):
    """a=ice-ufrag (RFC 8839 section 5.4); parsed leniently, as browsers accept more than its ice-char."""

    GRAMMAR: ClassVar[Grammar] = _CREDENTIAL
    NAME: ClassVar[str] = "ice-ufrag"


@dataclass(frozen=True, slots=True)
class IcePwd:
    """a=ice-pwd (RFC 8839 section 5.4); a secret, hidden in `repr`."""

    value: str = field(repr=False)

    NAME: ClassVar[str] = "ice-pwd"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the password; raise SdpSyntaxError (line 0) if not visible ASCII."""
        return cls(_CREDENTIAL.match(value)["value"])

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class IceLite(Flag):
    """a=ice-lite (RFC 8839 section 5.3), session level."""

    NAME: ClassVar[str] = "ice-lite"


@dataclass(frozen=True, slots=True)
class IceMismatch(Flag):
    """a=ice-mismatch (RFC 8839 section 5.3): the default destination is none of the candidates."""

    NAME: ClassVar[str] = "ice-mismatch"


@dataclass(frozen=True, slots=True)
class IceOptions:
    """a=ice-options (RFC 8839 section 5.6): trickle, ice2, renomination."""

    options: tuple[str, ...]

    NAME: ClassVar[str] = "ice-options"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the tags; raise SdpSyntaxError (line 0) if there are none."""
        options = words(value)
        if not options:
            raise SdpSyntaxError(0, 1, "an ICE option tag")
        return cls(options)

    def __str__(self) -> str:
        return " ".join(self.options)


@dataclass(frozen=True, slots=True)
class IcePacing(Number):
    """a=ice-pacing (RFC 8839 section 5.5): milliseconds between checks."""

    MAXIMUM: ClassVar[int] = 9_999_999_999
    NAME: ClassVar[str] = "ice-pacing"


@dataclass(frozen=True, slots=True)
class RemoteCandidate:
    """Address in a=remote-candidates."""

    component: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.component} {self.address} {self.port}"


@dataclass(frozen=True, slots=True)
class RemoteCandidates:
    """a=remote-candidates (RFC 8839 section 5.2)."""

    candidates: tuple[RemoteCandidate, ...]

    NAME: ClassVar[str] = "remote-candidates"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse triples of component, address, port; raise SdpSyntaxError (line 0)."""
        _REMOTE.match(value)
        parts = words(value)
        return cls(tuple(_remote(parts[start : start + 3]) for start in range(0, len(parts), 3)))

    def __str__(self) -> str:
        return " ".join(map(str, self.candidates))


_REMOTE: Final = Grammar(
    ("component, address and port", rf"[0-9]{{1,5}} +[^ ]{ADDRESS} +[0-9]{{1,5}}"),
    ("more of component, address and port", rf"(?: +[0-9]{{1,5}} +[^ ]{ADDRESS} +[0-9]{{1,5}})*+ *"),
)


def _remote(parts: Iterable[str]) -> RemoteCandidate:
    component, address, port = parts
    return RemoteCandidate(int(component), address, int(port))


@dataclass(frozen=True, slots=True)
class EndOfCandidates(Flag):
    """a=end-of-candidates (RFC 8840 section 8.2)."""

    NAME: ClassVar[str] = "end-of-candidates"
