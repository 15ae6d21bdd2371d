"""Instant messages between users (RFC 3428), and the store for absent recipients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError
from gateway.plain import plain_text


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantMessage:
    """A message to one user; the text is never logged."""

    id: str
    """Random id, the key in stores."""
    sender: str
    """SIP URI for a reply to the sender."""
    sender_name: str = ""
    recipient: str
    """User id."""
    content_type: str = "text/plain"
    """Media type with parameters, as received."""
    body: bytes = field(repr=False)
    sent_at: float
    """Unix time in seconds."""
    expires_at: float
    """Unix time in seconds after which the message is dropped."""
    hops: int = 70
    """Remaining Max-Forwards."""
    kept: bool = False
    """True for a message from the store: the recipient gets the time of sending (Date)."""

    @property
    def essence(self) -> str:
        """Media type without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """Body as readable text; octets outside UTF-8 are replaced."""
        return plain_text(self.body.decode("utf-8", "replace"))


class MessageStoreError(GatewayError):
    """Raised for an unreachable store or a refused change."""


class MessageStore(Protocol):
    """Messages for absent users, ordered by storage for each user. Raises MessageStoreError."""

    is_shared: bool
    """True if remote gateways use the same store."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def put(self, message: InstantMessage, limit: int) -> bool:
        """Store a message; return False, without storing, if the recipient has `limit` messages."""

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        """Return the unexpired messages of `user`, oldest first."""

    async def recipients(self) -> set[str]:
        """Return the users with stored messages."""

    async def remove(self, message_id: str) -> None:
        """Remove a delivered message; an unknown id is no error."""

    async def claim(self, message_id: str, seconds: float) -> bool:
        """Claim a message for delivery for some seconds; return False if a second gateway has claimed or removed it."""

    async def release(self, message_id: str) -> None:
        """Release the claim on an undelivered message."""

    async def expire(self, now: float) -> int:
        """Drop expired messages and return their number."""


class Outcome(Enum):
    """Outcome of a message; values are (SIP status, word for front ends)."""

    DELIVERED = (200, "delivered")
    """At least one device has accepted the message."""
    STORED = (202, "stored")
    """The message is stored (RFC 3428 section 7)."""
    FORBIDDEN = (403, "forbidden")
    NOT_FOUND = (404, "not-found")
    TOO_LARGE = (413, "too-large")
    UNSUPPORTED = (415, "unsupported")
    UNAVAILABLE = (480, "unavailable")
    """No device is there, or none has answered."""
    LOOP = (483, "loop")
    REFUSED = (488, "refused")
    """Every device has rejected the message."""
    TOO_MANY = (503, "too-many")
    """The sender has sent too many, or the store is unreachable."""

    def __init__(self, status: int, word: str) -> None:
        self.status = status
        self.word = word

    @property
    def is_success(self) -> bool:
        """True if the message is delivered or stored."""
        return self.status < 300
