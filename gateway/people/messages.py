"""Instant messages between users (RFC 3428): values, and what keeps those for somebody who is away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError
from gateway.plain import plain_text


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantMessage:
    """One message to one user; its text is never logged."""

    id: str
    """Random word; what stores know it by."""
    sender: str
    """SIP URI that leads back to who sent it."""
    sender_name: str = ""
    recipient: str
    """User id."""
    content_type: str = "text/plain"
    """Essence and parameters, as they came."""
    body: bytes = field(repr=False)
    sent_at: float
    """Unix time in seconds."""
    expires_at: float
    """Unix time in seconds after which nobody is to have it any more."""
    hops: int = 70
    """How often it may still be passed on (Max-Forwards)."""
    kept: bool = False
    """Whether it was stored before: the recipient is told when it was sent (Date)."""

    @property
    def essence(self) -> str:
        """The content type without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body as text that people read; octets that are no UTF-8 are replaced."""
        return plain_text(self.body.decode("utf-8", "replace"))


class MessageStoreError(GatewayError):
    """The store cannot be reached or refused the change."""


class MessageStore(Protocol):
    """Messages for users who are away, each user's in the order they were put. Raises MessageStoreError."""

    is_shared: bool
    """Whether other gateways keep messages there, too."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def put(self, message: InstantMessage, limit: int) -> bool:
        """Keep it; False, and nothing is kept, where its recipient has `limit` messages already."""

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        """What is kept for `user` and has not expired, the oldest first."""

    async def recipients(self) -> set[str]:
        """Users for whom something is kept."""

    async def remove(self, message_id: str) -> None:
        """It has been delivered; one that is gone is no error."""

    async def claim(self, message_id: str, seconds: float) -> bool:
        """Have it for oneself alone for so long, to deliver it; False where another gateway has it, or had."""

    async def release(self, message_id: str) -> None:
        """It was not delivered: others may have it."""

    async def expire(self, now: float) -> int:
        """Drop what has expired; how many."""


class Outcome(Enum):
    """What became of a message; the values are (SIP status, word for front ends)."""

    DELIVERED = (200, "delivered")
    """At least one device of the recipient has it."""
    STORED = (202, "stored")
    """It waits for the recipient (RFC 3428 section 7)."""
    FORBIDDEN = (403, "forbidden")
    NOT_FOUND = (404, "not-found")
    TOO_LARGE = (413, "too-large")
    UNSUPPORTED = (415, "unsupported")
    UNAVAILABLE = (480, "unavailable")
    """No device is there, or none has answered."""
    LOOP = (483, "loop")
    REFUSED = (488, "refused")
    """Every device of the recipient has refused it."""
    TOO_MANY = (503, "too-many")
    """The sender has sent too many, or the store is away."""

    def __init__(self, status: int, word: str) -> None:
        self.status = status
        self.word = word

    @property
    def is_success(self) -> bool:
        """Whether the recipient has it, or will have."""
        return self.status < 300
