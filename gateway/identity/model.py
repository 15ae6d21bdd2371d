"""Values of identities: web users, SIP accounts, registered contacts."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

_ID = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")


def is_user_id(text: str) -> bool:
    """Return True for a valid user id: 1 to 64 letters, digits or . _ + - that begin with a letter, digit, _ or +."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class User:
    """Person or device known to the gateway by name."""

    id: str
    """Web user id and default SIP user part: "alice", "1001"."""
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    """Further SIP URIs or bare user parts of the user: "sip:alice@example.com", "2001"."""
    sip: bool = False
    """SIP account: may REGISTER and call with digest authentication."""
    web: bool = False
    """Web account: may sign in on the page."""
    may_call: tuple[str, ...] = ("*",)
    """Patterns of allowed dial strings (fnmatch on the dialled user part or URI)."""
    max_calls: int = 10
    """Concurrent calls."""
    dtmf: str = "auto"
    """DTMF method of the user's phones: "auto", "rfc4733", "info" or "inband"."""
    pickup_groups: tuple[str, ...] = ()
    """Pickup groups: members may pick up each other's calls, and see the callers."""
    call_waiting: bool = True
    """True to let a call ring during another call of the user; False to answer busy."""
    ring: str = "all"
    """"all" phones at once, or "in_order" of q-values (RFC 3261 section 16.6)."""
    ring_next_after: float = 15.0
    """Seconds of ringing per q-value before the phones of the next q-value ring."""
    role: str = "user"
    """"user", "operator" (sees and ends calls) or "admin" (changes users and identities)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Registered contact of an address of record (RFC 3261 section 10)."""

    aor: str
    """Canonical "sip:user@domain"."""
    contact: str
    """Contact URI as registered."""
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
    """Source of the REGISTER, "udp:192.0.2.7:5060", and destination of requests (RFC 3581)."""
    user_agent: str = ""
    codecs: tuple[str, ...] = ()
    """Codec names (lower case) preferred in the phone's last answer, for the early answer."""
    node: str = ""
    """Path (RFC 3327) of the only gateway that reaches the contact, as a SIP URI; "" if every gateway does."""

    @property
    def key(self) -> str:
        """Return the key within the address of record: the flow (RFC 5626 section 6), else the contact."""
        if self.instance is None or self.reg_id is None:
            return self.contact
        return f"{self.reg_id} {self.instance}"


@dataclass(frozen=True, slots=True)
class Credential:
    """Digest secret: HA1 values of (username, realm), never the password (RFC 8760)."""

    username: str
    realm: str
    ha1: dict[str, str] = field(default_factory=dict, repr=False)
    """Algorithm ("MD5", "SHA-256") -> hex digest."""


def fold(name: str) -> str:
    """Return `name` as people compare names: compatibility forms (full width) and case are ignored (UTS 46, UAX 31)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
