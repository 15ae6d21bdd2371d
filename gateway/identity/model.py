"""Who is who: web users, SIP accounts, registered contacts."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

_ID = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")


def is_user_id(text: str) -> bool:
    """Whether `text` can be a user's id: 1 to 64 letters, digits or . _ + - that begin with a letter, digit, _ or +."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class User:
    """One person or device the gateway knows by name."""

    id: str
    """Web user id and default SIP user part: "alice", "1001"."""
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    """Further SIP URIs or bare user parts that mean this user: "sip:alice@example.com", "2001"."""
    sip: bool = False
    """A SIP account: may REGISTER and call with digest authentication."""
    web: bool = False
    """A web account: may announce itself on the page."""
    may_call: tuple[str, ...] = ("*",)
    """Patterns of what this user may dial (fnmatch on the dialled user part or URI)."""
    max_calls: int = 10
    """Calls at once."""
    dtmf: str = "auto"
    """How this user's phones take digits: "auto", "rfc4733", "info" or "inband"."""
    pickup_groups: tuple[str, ...] = ()
    """Those who share one may take each other's calls, and see who calls."""
    call_waiting: bool = True
    """Whether a call rings while another one of this user's rings or is under way; else it is busy."""
    ring: str = "all"
    """"all" phones at once, or "in_order" of their q-values (RFC 3261 section 16.6)."""
    ring_next_after: float = 15.0
    """Seconds that phones of one q-value ring before those of the next one do."""
    role: str = "user"
    """"user", "operator" (sees and ends calls) or "admin" (changes who is who)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One registered contact of an address of record (RFC 3261 section 10)."""

    aor: str
    """Canonical "sip:user@domain"."""
    contact: str
    """The Contact URI as it was registered."""
    expires_at: float
    """Unix time in seconds."""
    call_id: str = ""
    cseq: int = 0
    q: float = 1.0
    instance: str | None = None
    """+sip.instance (RFC 5626), without the angle brackets."""
    reg_id: int | None = None
    path: tuple[str, ...] = ()
    """Path header values in order (RFC 3327)."""
    received: str | None = None
    """"udp:192.0.2.7:5060": where the REGISTER came from; requests go there (RFC 3581)."""
    user_agent: str = ""
    codecs: tuple[str, ...] = ()
    """Codec names (lower case) its last answer preferred; the early answer is built from them."""
    node: str = ""
    """Path (RFC 3327) of the gateway that alone can reach it, as a SIP URI; "": any gateway of the store can."""

    @property
    def key(self) -> str:
        """What it is one of under its address of record: its flow (RFC 5626 section 6), else its contact."""
        if self.instance is None or self.reg_id is None:
            return self.contact
        return f"{self.reg_id} {self.instance}"


@dataclass(frozen=True, slots=True)
class Credential:
    """A digest secret: HA1 values of (username, realm), never the password (RFC 8760)."""

    username: str
    realm: str
    ha1: dict[str, str] = field(default_factory=dict, repr=False)
    """Algorithm ("MD5", "SHA-256") -> hex digest."""


def fold(name: str) -> str:
    """`name` as people compare names: compatibility forms (full width) and case do not count (UTS 46, UAX 31)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
