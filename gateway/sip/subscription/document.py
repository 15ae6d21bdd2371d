"""State document of an event package, written at the sending of a NOTIFY."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

_TAG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Document:
    """State of one resource. Documents with equal `tag` have equal content."""

    content_type: str
    write: Callable[[int], bytes]
    """Writer of the body for a version: full-state packages number the documents of each subscriber from 0 (RFC
    4235, 3680)."""

    @classmethod
    def of(cls, content_type: str, body: bytes) -> Document:
        """Return a document without version."""
        return cls(content_type, lambda _: body)

    @property
    def tag(self) -> str:
        """Return the entity-tag (RFC 5839 section 4.2)."""
        return hashlib.sha256(self.content_type.encode() + b"\0" + self.write(0)).hexdigest()[:_TAG_LENGTH]
