"""Keys and connections: fingerprint, setup, connection, tls-id, and SDES crypto."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Self, final

from sdp.attributes.base import Text, words
from sdp.errors import SdpSyntaxError
from sdp.grammar import Grammar, remember


@final
@dataclass(frozen=True, slots=True)
class Fingerprint:
    """a=fingerprint (RFC 8122 section 5)."""

    algorithm: str
    """Hash function in lower case, e.g. "sha-256"."""
    digest: str
    """Octets in upper-case hexadecimal, separated by colons."""

    NAME: ClassVar[str] = "fingerprint"

    @classmethod
    def parse(cls, value: str) -> Fingerprint:
        """Parse `hash digest` in either case; raise SdpSyntaxError (line 0)."""
        return _read_fingerprint(value)

    @property
    def octets(self) -> bytes:
        """Return the digest's bytes."""
        return bytes.fromhex(self.digest.replace(":", ""))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest}"


_FINGERPRINT: Final = Grammar(
    ("a hash function", r"(?P<algorithm>[A-Za-z0-9\-]{1,32})"),
    ("a space and an octet in hexadecimal", r" +[0-9A-Fa-f]{2}"),
    ("colons and octets in hexadecimal", r"(?::[0-9A-Fa-f]{2}){0,127} *"),
)


@remember
def _read_fingerprint(value: str) -> Fingerprint:
    match = _FINGERPRINT.match(value)
    return Fingerprint(match["algorithm"].lower(), value[match.end("algorithm") :].strip(" ").upper())


class SetupRole(StrEnum):
    """Opener of the connection (RFC 4145 section 4); for DTLS the active side is the client (RFC 5763)."""

    ACTIVE = "active"
    PASSIVE = "passive"
    ACTPASS = "actpass"
    HOLDCONN = "holdconn"


@final
@dataclass(frozen=True, slots=True)
class Setup:
    """a=setup (RFC 4145 section 4)."""

    role: SetupRole

    NAME: ClassVar[str] = "setup"

    @classmethod
    def parse(cls, value: str) -> Setup:
        """Parse the role; raise SdpSyntaxError (line 0) for an unknown role."""
        return _read_setup(value)

    def __str__(self) -> str:
        return self.role.value


@remember
def _read_setup(value: str) -> Setup:
    try:
        return Setup(SetupRole(value.strip(" ").lower()))
    except ValueError:
        raise SdpSyntaxError(0, 1, "active, passive, actpass or holdconn") from None


@dataclass(frozen=True, slots=True)
class ConnectionReuse(Text):
    """a=connection (RFC 4145 section 5): new or existing."""

    GRAMMAR: ClassVar[Grammar] = Grammar(("new or existing", r"(?P<value>new|existing) *"))
    NAME: ClassVar[str] = "connection"


@dataclass(frozen=True, slots=True)
class TlsId(Text):
    """a=tls-id (RFC 8842 section 4): 20 to 255 characters that identify a DTLS association."""

    GRAMMAR: ClassVar[Grammar] = Grammar(
        ("20 to 255 letters, digits, + / - or _", r"(?P<value>[A-Za-z0-9+/\-_]{20,255}) *")
    )
    NAME: ClassVar[str] = "tls-id"


@dataclass(frozen=True, slots=True)
class CryptoKey:
    """Inline key of a=crypto (RFC 4568 section 6.1); `repr` hides the key."""

    key_and_salt: bytes = field(repr=False)
    """Master key followed by master salt: 30 octets for AES_CM_128."""
    lifetime: str | None = None
    """Packets, as written: "2^20" or digits."""
    mki: int | None = None
    """Master key identifier, None if packets carry none."""
    mki_length: int | None = None
    """Octets of the identifier in a packet, 1 to 128."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `inline:base64[|lifetime][|mki:length]`; raise SdpSyntaxError (line 0)."""
        match = _KEY.match(value)
        text = match["key"].rstrip("=")
        try:
            key = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except binascii.Error:
            raise SdpSyntaxError(0, match.start("key") + 1, "a key in base64") from None
        mki, length = match["mki"], match["mki_length"]
        return cls(key, match["lifetime"], int(mki) if mki else None, int(length) if length else None)

    @property
    def packets(self) -> int | None:
        """Return the number of packets protected by the key, None if unstated."""
        if self.lifetime is None:
            return None
        return 2 ** int(self.lifetime[2:]) if self.lifetime.startswith("2^") else int(self.lifetime)

    def __str__(self) -> str:
        parts = ["inline:" + binascii.b2a_base64(self.key_and_salt, newline=False).decode()]
        if self.lifetime is not None:
            parts.append(self.lifetime)
        if self.mki is not None:
            parts.append(f"{self.mki}:{self.mki_length}")
        return "|".join(parts)


_KEY: Final = Grammar(
    ('"inline:"', r"inline:"),
    ("a key in base64", r"(?P<key>[A-Za-z0-9+/]{1,1024}={0,2})"),
    ('"|" and a lifetime', r"(?:\|(?P<lifetime>2\^[0-9]{1,2}|[0-9]{1,20})(?=\||$))?"),
    ('"|", a master key identifier, ":" and its length', r"(?:\|(?P<mki>[0-9]{1,40}):(?P<mki_length>[0-9]{1,3}))?"),
)


@dataclass(frozen=True, slots=True)
class Crypto:
    """a=crypto (RFC 4568 section 4)."""

    tag: int
    suite: str
    """Suite in upper case, e.g. "AES_CM_128_HMAC_SHA1_80" or "AEAD_AES_256_GCM"."""
    keys: tuple[CryptoKey, ...]
    session_parameters: tuple[str, ...] = ()
    """Session parameters, e.g. "UNENCRYPTED_SRTCP", "KDR=1"."""

    NAME: ClassVar[str] = "crypto"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `tag suite keys [session parameters]`, the suite in any case; raise SdpSyntaxError (line 0)."""
        match = _CRYPTO.match(value)
        keys = []
        column = match.start("keys")
        for text in match["keys"].split(";"):
            try:
                keys.append(CryptoKey.parse(text))
            except SdpSyntaxError as error:
                raise error.at(0, column) from None
            column += len(text) + 1
        return cls(int(match["tag"]), match["suite"].upper(), tuple(keys), words(match["parameters"]))

    def __str__(self) -> str:
        return " ".join((str(self.tag), self.suite, ";".join(map(str, self.keys)), *self.session_parameters))


_CRYPTO: Final = Grammar(
    ("a tag", r"(?P<tag>[0-9]{1,9})"),
    ("a space and a crypto suite", r" +(?P<suite>[A-Za-z0-9_]+)"),
    ("a space and key parameters", r" +(?P<keys>[^ ]+)"),
    ("session parameters", r"(?P<parameters>(?: +[!-~]+)*+) *"),
)
