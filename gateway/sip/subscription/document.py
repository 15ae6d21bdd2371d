"""What a package has to say, as it is written when a NOTIFY goes out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

_TAG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Document:
    """The state of one resource. Two with one `tag` say the same."""

    content_type: str
    write: Callable[[int], bytes]
    """The body by its version: packages of full state number what each subscriber is sent, from 0 (RFC 4235, 3680)."""

    @classmethod
    def of(cls, content_type: str, body: bytes) -> Document:
        """One that has no version."""
        return cls(content_type, lambda _: body)

    @property
    def tag(self) -> str:
        """Its entity-tag (RFC 5839 section 4.2)."""
        return hashlib.sha256(self.content_type.encode() + b"\0" + self.write(0)).hexdigest()[:_TAG_LENGTH]
