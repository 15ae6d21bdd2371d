"""Configuration of what users are to each other beside calls: messages, presence."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gateway.config.values import REDIS, Section, Text

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")


class MessagesConfig(Section):
    """Instant messages (SIP MESSAGE, RFC 3428) between phones, pages and trunks; who may call somebody may write."""

    max_size: int = Field(default=4_096, ge=1, le=65_535)
    """Largest message (bytes); more is answered 413."""
    content_types: tuple[Text, ...] = (
        "text/plain",
        "text/html",
        "application/im-iscomposing+xml",
        "message/imdn+xml",
    )
    """What a message may be; other types are answered 415."""
    per_minute: float = Field(default=60.0, gt=0)
    """Messages of one sender, averaged; more are answered 503."""
    burst: int = Field(default=20, ge=1)
    """Messages one sender may send at once before the rate counts."""
    store: Text = "off"
    """Where text for somebody who is away is kept until a phone registers or a page signs in: "off" (refused with 480),
    "memory", "sqlite:FILE" (in the state directory) or "redis://host:6379/0" (shared by several gateways)."""
    max_stored: int = Field(default=100, ge=1)
    """Messages kept for one user; more are refused."""
    keep: float = Field(default=604_800.0, gt=0)
    """How long a message is kept (s)."""

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
    """What users are told of each other: who is there, who talks (SUBSCRIBE, PUBLISH, `presence.watch`)."""

    visible_to: Literal["users", "groups", "self"] = "users"
    """Who is told of a user's presence and calls, and of its page as one opens it (`list_peers`, `peer_joined`): every
    user of this gateway, those who share a pick-up group with it, or nobody else. Who calls is told to pick-up groups
    only."""
    min_expires: int = Field(default=60, ge=1, le=3_600)
    """Shorter subscriptions and publications are answered 423 (s)."""
    max_expires: int = Field(default=3_600, ge=60)
    """Longer ones are shortened to it (s)."""
    max_subscriptions: int = Field(default=10_000, ge=1)
    """Subscriptions at once; more are answered 503."""
    max_subscriptions_per_user: int = Field(default=200, ge=1)
    """Of one user, on all of its phones or on one page."""
    notify_interval: float = Field(default=1.0, ge=0, le=60)
    """Between two notifications of one subscription (s); of what changes faster only the last is told."""
    max_publications_per_user: int = Field(default=10, ge=1)
    """What the phones of one user may publish at once."""

    @model_validator(mode="after")
    def _in_order(self) -> PresenceConfig:
        if self.max_expires < self.min_expires:
            raise ValueError("max_expires must not be shorter than min_expires")
        return self
