"""Configuration of what users are to each other beside calls: messages."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from gateway.config.values import Section, Text

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
    "memory" or "sqlite:FILE" (in the state directory)."""
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
        raise ValueError('must be "off", "memory" or "sqlite:FILE"')
