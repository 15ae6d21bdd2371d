"""Configuration of services between users other than calls: messages and presence."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gateway.config.values import REDIS, Section, Text

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")


class MessagesConfig(Section):
    """Instant messages (SIP MESSAGE, RFC 3428) between phones, pages and trunks, allowed wherever calls are allowed."""

    max_size: int = Field(default=4_096, ge=1, le=65_535)
    """Largest message (bytes); larger messages are answered 413."""
    content_types: tuple[Text, ...] = (
        "text/plain",
        "text/html",
        "application/im-iscomposing+xml",
        "message/imdn+xml",
    )
    """Media types of messages; others are answered 415."""
    per_minute: float = Field(default=60.0, gt=0)
    """Messages per sender and minute, averaged; beyond the limit they are answered 503."""
    burst: int = Field(default=20, ge=1)
    """Messages that one sender may send at once before the rate counts."""
    store: Text = "off"
    """Store for text to an absent user until a phone registers or a page signs in: "off" (rejected with 480),
    "memory", "sqlite:FILE" (in the state directory) or "redis://host:6379/0" (shared by several gateways)."""
    max_stored: int = Field(default=100, ge=1)
    """Messages stored per user; further messages are rejected."""
    keep: float = Field(default=604_800.0, gt=0)
    """Time for which a message is stored (s)."""

    @field_validator("content_types")
    @classmethod
    def _media_types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for one in types:
            if not _MEDIA_TYPE.fullmatch(one):
                raise ValueError(f"{one!r} is no media type in lower case, as in text/plain")
        return types

    @field_validator("store")
    @classmethod
    def _known(cls, store: str) -> str:
        scheme, _, rest = store.partition(":")
        if store in ("off", "memory") or (scheme == "sqlite" and rest):
            return store
        if scheme in REDIS and rest.startswith("//") and len(rest) > 2:
            return store
        raise ValueError('must be "off", "memory", "sqlite:FILE" or "redis://HOST:PORT/DATABASE"')


class PresenceConfig(Section):
    """Presence and call state of users, visible to other users (SUBSCRIBE, PUBLISH, `presence.watch`)."""

    visible_to: Literal["users", "groups", "self"] = "users"
    """Audience of a user's presence and calls, and of an opened page (`list_peers`, `peer_joined`): all users of the
    gateway, members of a common pickup group, or only the user. Callers are shown to pickup groups only."""
    min_expires: int = Field(default=60, ge=1, le=3_600)
    """Shortest subscription or publication; shorter requests are answered 423 (s)."""
    max_expires: int = Field(default=3_600, ge=60)
    """Longest subscription or publication; longer requests are shortened (s)."""
    max_subscriptions: int = Field(default=10_000, ge=1)
    """Concurrent subscriptions; further ones are answered 503."""
    max_subscriptions_per_user: int = Field(default=200, ge=1)
    """Concurrent subscriptions of one user, on all phones or on one page."""
    notify_interval: float = Field(default=1.0, ge=0, le=60)
    """Time between notifications of one subscription (s); of faster changes only the last is sent."""
    max_publications_per_user: int = Field(default=10, ge=1)
    """Concurrent publications by the phones of one user."""

    @model_validator(mode="after")
    def _in_order(self) -> PresenceConfig:
        if self.max_expires < self.min_expires:
            raise ValueError("max_expires must not be shorter than min_expires")
        return self
